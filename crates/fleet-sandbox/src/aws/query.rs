//! Parameters of the Query protocol: flat names with numbers in them, read as lists and structures.

use super::{Refusal, bad_value, missing};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// The decoded parameters of one call.
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| missing(name))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        self.get(name).map(|v| v.parse().map_err(|_| bad_value(name, v))).transpose()
    }

    /// `NAME.1`, `NAME.2`, … in order.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.groups(name).iter().filter_map(|g| self.get(g)).collect()
    }

    /// The prefixes `NAME.1`, `NAME.2`, … that occur, in numeric order.
    pub(crate) fn groups(&self, name: &str) -> Vec<String> {
        let numbers: std::collections::BTreeSet<u32> = self
            .0
            .keys()
            .filter_map(|k| {
                k.strip_prefix(name)?.strip_prefix('.')?.split('.').next()?.parse().ok()
            })
            .collect();
        numbers.into_iter().map(|n| format!("{name}.{n}")).collect()
    }

    /// `TagSpecification.N` for one kind of resource.
    pub(crate) fn tags_for(&self, resource: &str) -> BTreeMap<String, String> {
        self.groups("TagSpecification")
            .iter()
            .filter(|g| self.get(&format!("{g}.ResourceType")) == Some(resource))
            .flat_map(|g| self.tags(&format!("{g}.Tag")))
            .collect()
    }

    /// `PREFIX.N.Key` / `.Value`.
    pub(crate) fn tags(&self, prefix: &str) -> BTreeMap<String, String> {
        self.groups(prefix)
            .iter()
            .filter_map(|t| {
                let value = self.get(&format!("{t}.Value")).unwrap_or("").to_owned();
                Some((self.get(&format!("{t}.Key"))?.to_owned(), value))
            })
            .collect()
    }

    /// All parameters but those that a retry may change, as one text: what a token stands for.
    pub(crate) fn body(&self) -> String {
        let fixed = |k: &str| !matches!(k, "DryRun" | "ClientToken");
        self.0.iter().filter(|(k, _)| fixed(k)).map(|(k, v)| format!("{k}={v}\n")).collect()
    }

    /// One page of `items`: what `MaxResults` and `NextToken` ask for, and the next token.
    pub(crate) fn page<T>(
        &self,
        items: Vec<T>,
        most: usize,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        let start = match self.get("NextToken") {
            None => 0,
            Some(token) => STANDARD
                .decode(token)
                .ok()
                .and_then(|raw| String::from_utf8(raw).ok()?.strip_prefix("at:")?.parse().ok())
                .ok_or_else(|| bad_value("NextToken", token))?,
        };
        let size = match self.number("MaxResults")? {
            Some(n) if n as usize > most => {
                return Err(bad_value("MaxResults", &n.to_string()));
            }
            Some(n) => n.max(1) as usize,
            None => most,
        };
        let more = items.len() > start + size;
        let next = more.then(|| STANDARD.encode(format!("at:{}", start + size)));
        Ok((items.into_iter().skip(start).take(size).collect(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params::new(crate::text::pairs(text))
    }

    #[test]
    fn lists_are_in_numeric_order() {
        let p = params("A.10=j&A.2=b&A.1=a&AB.1=x");
        assert_eq!(p.list("A"), ["a", "b", "j"]);
    }

    #[test]
    fn pages_join_to_the_whole() {
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let text = token.map_or("MaxResults=7".to_owned(), |t: String| {
                format!("MaxResults=7&NextToken={}", t.replace('=', "%3D"))
            });
            let (page, next) = params(&text).page((0..20).collect(), 100).unwrap();
            seen.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        assert!(params("NextToken=zzz").page(vec![1], 10).is_err());
    }
}
