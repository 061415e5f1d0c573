//! The account's SSH keys. A machine gets the one that its launch names, when it boots.

use super::{Request, data, failure, invalid};
use crate::boot::public_key;
use crate::http::Reply;
use serde_json::{Value, json};

const MAX_NAME: usize = 64;
const MAX_KEY: usize = 4096;

pub(super) struct SshKey {
    id: String,
    pub(super) name: String,
    /// As it was given.
    line: String,
    pub(super) public: String,
}

impl SshKey {
    fn json(&self) -> Value {
        json!({"id": self.id, "name": self.name, "public_key": self.line})
    }
}

impl Request<'_> {
    pub(super) fn list_keys(&mut self) -> Reply {
        data(self.world.lambda.keys.iter().map(SshKey::json).collect())
    }

    /// Only a key that is given: a generated one would hand out a private half.
    pub(super) fn add_key(&mut self) -> Reply {
        let name = self.body["name"].as_str().unwrap_or("").to_owned();
        let line = self.body["public_key"].as_str().unwrap_or("").to_owned();
        if name.is_empty() || name.len() > MAX_NAME || line.len() > MAX_KEY {
            return invalid("name must have 1 to 64 characters, public_key at most 4096");
        }
        let Some(public) = public_key(&line) else {
            return invalid("public_key: no OpenSSH public key (the sandbox generates none)");
        };
        if self.world.lambda.keys.iter().any(|k| k.name == name) {
            return failure(400, "global/duplicate", "An SSH key with this name exists.");
        }
        let id = self.fresh_id();
        let key = SshKey { id, name, line, public };
        let shown = key.json();
        self.world.lambda.keys.push(key);
        data(shown)
    }

    pub(super) fn delete_key(&mut self, id: &str) -> Reply {
        let before = self.world.lambda.keys.len();
        self.world.lambda.keys.retain(|k| k.id != id);
        if self.world.lambda.keys.len() == before {
            return failure(404, "global/not-found", "The requested resource was not found.");
        }
        data(json!({}))
    }

    /// 32 hex digits, as Lambda names things.
    pub(super) fn fresh_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.world.draw(), self.world.draw())
    }
}
