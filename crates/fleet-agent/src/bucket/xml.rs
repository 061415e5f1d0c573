//! Documents of S3 and Azure, read element by element.
//!
//! Invariant: a document is data: no entity of its own is expanded and nothing outside it is read. What is
//! not known is passed over.

use super::escape::unescape;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Tells of each element at its end: the names down to it, joined by `/`, and the text right in it.
/// Elements come in the order of their ends, children before their parents. `Err`: this is no XML.
pub(super) fn leaves(xml: &str, each: &mut dyn FnMut(&str, &str)) -> Result<(), String> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut path = String::new();
    let mut open: Vec<Open> = Vec::new();
    loop {
        let event = reader.read_event().map_err(|e| e.to_string())?;
        let text = match event {
            Event::Start(start) => {
                open.push(Open {
                    above: path.len(),
                    encoded: is_encoded(&start),
                    text: String::new(),
                });
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(&String::from_utf8_lossy(start.local_name().as_ref()));
                continue;
            }
            Event::End(_) => {
                let Some(ended) = open.pop() else { continue };
                let decoded = ended.encoded.then(|| unescape(&ended.text, false)).flatten();
                each(&path, &decoded.unwrap_or(ended.text));
                path.truncate(ended.above);
                continue;
            }
            Event::Text(text) => text.decode().map_err(|e| e.to_string())?.into_owned(),
            Event::CData(text) => text.decode().map_err(|e| e.to_string())?.into_owned(),
            Event::GeneralRef(entity) => {
                match entity.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(character) => character.to_string(),
                    None => named(&entity.decode().map_err(|e| e.to_string())?).to_owned(),
                }
            }
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err("it breaks off".into()),
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {
                continue;
            }
        };
        if let Some(inner) = open.last_mut() {
            inner.text.push_str(&text);
        }
    }
}

/// An element whose end has not come.
struct Open {
    /// Length of the path above it.
    above: usize,
    encoded: bool,
    text: String,
}

/// Azure marks names that XML cannot hold.
fn is_encoded(start: &BytesStart<'_>) -> bool {
    let value = start.try_get_attribute("Encoded").ok().flatten();
    value.is_some_and(|v| v.value.as_ref() == b"true")
}

fn named(entity: &str) -> &'static str {
    match entity {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

/// Text as an element holds it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(xml: &str) -> Result<Vec<(String, String)>, String> {
        let mut seen = Vec::new();
        leaves(xml, &mut |path, text| seen.push((path.to_owned(), text.to_owned())))?;
        Ok(seen)
    }

    #[test]
    fn elements_come_with_their_text() {
        let xml = "<?xml version=\"1.0\"?><r xmlns=\"u\"><a>x &lt;&amp;&#x41;<b/></a><n:c Encoded=\"true\">%00 +</n:c></r>";
        let seen = all(xml).unwrap();
        let wanted = [("r/a/b", ""), ("r/a", "x <&A"), ("r/c", "\0 +"), ("r", "")];
        let wanted: Vec<_> =
            wanted.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn nothing_is_expanded_and_nothing_half_is_whole() {
        let bomb = "<!DOCTYPE r [<!ENTITY b \"boom\">]><r>&b;</r>";
        assert_eq!(all(bomb).unwrap(), [("r".to_owned(), String::new())]);
        assert!(all("<r><a>").is_err());
        assert!(all("<r></q>").is_err());
    }
}
