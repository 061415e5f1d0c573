//! XML as EC2 writes it: elements in order, lists as `<set><item>…`, no attributes but the namespace.

use std::collections::BTreeMap;
use std::fmt::Display;

/// The inside of an element, being written.
#[derive(Default)]
pub(crate) struct Xml(String);

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}

impl Xml {
    /// An element with text in it.
    pub(crate) fn el(mut self, name: &str, value: impl Display) -> Self {
        self.0 += &format!("<{name}>{}</{name}>", escape(&value.to_string()));
        self
    }

    /// The same where there is a value.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(v) => self.el(name, v),
            None => self,
        }
    }

    /// An element with elements in it.
    pub(crate) fn group(mut self, name: &str, inside: Self) -> Self {
        self.0 += &format!("<{name}>{}</{name}>", inside.0);
        self
    }

    /// `<name><item>…</item>…</name>`.
    pub(crate) fn list<T>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        item: impl Fn(Self, T) -> Self,
    ) -> Self {
        let inside = items
            .into_iter()
            .fold(Self::default(), |x, i| x.group("item", item(Self::default(), i)));
        self.group(name, inside)
    }

    /// One plain text within a list.
    pub(crate) fn el_item(mut self, value: impl Display) -> Self {
        self.0 += &escape(&value.to_string());
        self
    }

    /// A list of plain texts.
    pub(crate) fn texts<T: Display>(self, name: &str, items: &[T]) -> Self {
        self.list(name, items, Self::el_item)
    }

    /// A tag set; nothing where there are none.
    pub(crate) fn tags(self, tags: &BTreeMap<String, String>) -> Self {
        if tags.is_empty() {
            return self;
        }
        self.list("tagSet", tags, |x, (k, v)| x.el("key", k).el("value", v))
    }

    /// The text of the first element of that name.
    pub(crate) fn first_of(&self, name: &str) -> Option<&str> {
        let rest = self.0.split(&format!("<{name}>")).nth(1)?;
        rest.split('<').next()
    }

    /// The whole response document.
    pub(crate) fn respond(self, service: &str, action: &str) -> String {
        let id = uuid::Uuid::new_v4();
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        if service == "sts" {
            return format!(
                "{head}<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <{action}Result>{}</{action}Result>\
                 <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>",
                self.0
            );
        }
        format!(
            "{head}<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>{id}</requestId>{}</{action}Response>",
            self.0
        )
    }

    /// An error document in the shape of that service.
    pub(crate) fn error(service: &str, code: &str, message: &str) -> String {
        let id = uuid::Uuid::new_v4();
        let what = Self::default().el("Code", code).el("Message", message).0;
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        if service == "sts" {
            return format!(
                "{head}<ErrorResponse><Error><Type>Sender</Type>{what}</Error>\
                 <RequestId>{id}</RequestId></ErrorResponse>"
            );
        }
        format!(
            "{head}<Response><Errors><Error>{what}</Error></Errors>\
             <RequestID>{id}</RequestID></Response>"
        )
    }
}
