//! The account: who it is, and the SSH keys that its machines admit.
//!
//! Keys reach a machine when it boots; one attached later reaches it at its next start.

use super::{Request, failure, no_such_instance};
use crate::boot::public_key;
use crate::clock::iso;
use crate::http::Reply;
use fleet_types::Timestamp;
use serde_json::{Value, json};

const USER: u64 = 100_001;

pub(crate) struct SshKey {
    id: u64,
    pub(super) public: String,
    created_at: Timestamp,
}

/// `GET /users/current/`; the API key is never in it.
pub(super) fn user() -> Reply {
    Reply::json(
        200,
        &json!({
            "id": USER, "email": "sandbox@example.invalid", "username": "sandbox",
            "balance": 0.0, "credit": 25.0, "can_pay": true, "billaddress": null, "sid": "sandbox",
            "ssh_key": "", "key_id": 1, "balance_threshold": 5.0, "verification": "verified",
            "fullname": "Sandbox",
        }),
    )
}

impl Request<'_> {
    fn key(&self) -> Result<String, Reply> {
        let text = self.body["ssh_key"].as_str().unwrap_or("");
        public_key(text).ok_or_else(|| failure(400, "no_ssh_key", "No ssh key provided"))
    }

    pub(super) fn add_key(&mut self) -> Reply {
        let public = match self.key() {
            Ok(public) => public,
            Err(refused) => return refused,
        };
        let id = 1 + self.world.vast.keys.iter().map(|k| k.id).max().unwrap_or(0);
        let key = SshKey { id, public, created_at: self.now };
        let shown = json!({
            "id": id, "user_id": USER, "public_key": key.public,
            "created_at": iso(key.created_at), "deleted_at": null,
        });
        self.world.vast.keys.push(key);
        Reply::json(200, &json!({"success": true, "key": shown}))
    }

    pub(super) fn list_keys(&mut self) -> Reply {
        let keys: Vec<Value> = self
            .world
            .vast
            .keys
            .iter()
            .map(|k| {
                json!({"id": k.id, "user_id": USER, "key": k.public, "public_key": k.public,
                    "created_at": iso(k.created_at), "deleted_at": null})
            })
            .collect();
        Reply::json(200, &Value::Array(keys))
    }

    pub(super) fn delete_key(&mut self, id: u64) -> Reply {
        let before = self.world.vast.keys.len();
        self.world.vast.keys.retain(|k| k.id != id);
        if self.world.vast.keys.len() == before {
            return failure(404, "no_such_key", "Key does not exist.");
        }
        Reply::json(200, &json!({"success": true}))
    }

    pub(super) fn attach_key(&mut self, id: u64) -> Reply {
        let public = match self.key() {
            Ok(public) => public,
            Err(refused) => return refused,
        };
        let Some(contract) = self.world.vast.contracts.get_mut(&id) else {
            return no_such_instance(id);
        };
        contract.keys.push(public.clone());
        if let Some(unit) = self.world.units.get_mut(&id.to_string()) {
            unit.boot.authorized_keys.push(public);
        }
        Reply::json(200, &json!({"success": true, "msg": "SSH key added to instance."}))
    }

    pub(super) fn instance_keys(&mut self, id: u64) -> Reply {
        let Some(contract) = self.world.vast.contracts.get(&id) else {
            return no_such_instance(id);
        };
        let keys: Vec<Value> = contract.keys.iter().map(|k| json!({"public_key": k})).collect();
        Reply::json(200, &json!({"success": true, "ssh_keys": keys}))
    }
}
