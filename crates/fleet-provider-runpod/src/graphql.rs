//! Spot, through RunPod's GraphQL API: who may, what a bid must be, and renting.
//!
//! The vendor ends this API in early 2027 and offers no spot in the one that follows. So all of it is here, and
//! an answer of 404 or 410 becomes one clean refusal (`spot-unsupported`). Invariants: documents are constant but
//! for the number of their places, and whatever comes from outside travels as a variable, never as text; an answer
//! with `errors` is a success only for what its data holds.

use crate::client::http;
use crate::fault::{self, call};
use crate::wire::SpotRow;
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Client, Effect, Reply, wire};
use fleet_types::Usd;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

const MYSELF: &str = "query Myself { myself { id email clientBalance underBalance spendLimit } }";
const RENT: &str = "mutation Rent($input: PodRentInterruptableInput!) { \
    podRentInterruptable(input: $input) { id costPerHr machine { dataCenterId } } }";

#[derive(Debug)]
pub(crate) struct GraphqlClient {
    http: Client,
}

/// Who the key belongs to, as far as it may say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Myself {
    pub id: String,
    pub email: Option<String>,
    pub balance: Option<f64>,
    /// Dollars an hour that all pods together may cost.
    pub spend_limit: Option<f64>,
}

/// What is asked about bids: these GPU types, so many in a pod, at these data centres.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub gpus: Vec<&'a str>,
    pub count: u32,
    pub secure: bool,
    pub data_centers: Vec<&'a str>,
}

/// Bids of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bids {
    pub rows: Vec<SpotRow>,
    /// The account is out of money: nothing can be rented whatever the rows say.
    pub under_balance: Option<bool>,
}

/// A pod that was rented.
#[derive(Clone, Debug)]
pub(crate) struct Rented {
    pub id: String,
    pub price: Option<Usd>,
    pub data_center: Option<String>,
}

impl GraphqlClient {
    pub(crate) fn new(url: String, key: &SecretString) -> Result<Self> {
        Ok(Self { http: http(url, key)? })
    }

    pub(crate) async fn myself(&self) -> Result<Myself> {
        let (data, error) = self.ask(call::MYSELF, Effect::Read, MYSELF.into(), json!({})).await?;
        let me = data.get("myself").filter(|m| m.is_object());
        let Some(me) = me else { return Err(absent(call::MYSELF, Effect::Read, error)) };
        Ok(Myself {
            id: wire::needed_text(me, "id")
                .map_err(|o| o.into_error(call::MYSELF, Effect::Read))?,
            email: wire::text(me, "email"),
            balance: wire::number(me, "clientBalance"),
            spend_limit: wire::number(me, "spendLimit").filter(|limit| *limit > 0.0),
        })
    }

    /// Least bids and stock of every GPU type at every data centre asked.
    pub(crate) async fn bids(&self, asked: &Asked<'_>) -> Result<Bids> {
        let (document, variables) = bids_document(asked);
        let (data, error) = self.ask(call::PRICES, Effect::Read, document, variables).await?;
        let Some(types) = data.get("gpuTypes").and_then(Value::as_array) else {
            return Err(absent(call::PRICES, Effect::Read, error));
        };
        let row = |t: &Value| {
            let at = |(i, dc): (usize, &&str)| SpotRow::read(t, &alias(i), dc, asked.count);
            asked.data_centers.iter().enumerate().filter_map(at).collect::<Vec<_>>()
        };
        Ok(Bids {
            rows: types.iter().flat_map(row).collect(),
            under_balance: data.get("myself").and_then(|me| wire::flag(me, "underBalance")),
        })
    }

    /// Rents a spot pod.
    pub(crate) async fn rent(&self, input: Value) -> Result<Rented> {
        let variables = json!({"input": input});
        let (data, error) = self.ask(call::RENT, Effect::Create, RENT.into(), variables).await?;
        let pod = data.get("podRentInterruptable").filter(|pod| pod.is_object());
        let Some(pod) = pod else { return Err(absent(call::RENT, Effect::Create, error)) };
        let id = wire::needed_text(pod, "id");
        Ok(Rented {
            id: id.map_err(|odd| odd.into_error(call::RENT, Effect::Create))?,
            price: wire::price(pod, "costPerHr"),
            data_center: pod.get("machine").and_then(|m| wire::text(m, "dataCenterId")),
        })
    }

    /// Asks; answers the data, and what `errors` said beside it.
    async fn ask(
        &self,
        operation: &'static str,
        effect: Effect,
        document: String,
        variables: Value,
    ) -> Result<(Value, Option<ProviderError>)> {
        let body = json!({"query": document, "variables": variables});
        let call = Call::new(operation, Method::POST, "", effect).body(body);
        let reply: Reply = self.http.send(call).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        let mut body = reply.json()?;
        let failed = body.get("errors").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        let error = failed.then(|| fault::classify(&reply));
        match (body.get_mut("data").map(Value::take), error) {
            (Some(data @ Value::Object(_)), error) => Ok((data, error)),
            (_, Some(error)) => Err(error),
            (_, None) => Err(reply.unreadable("the answer holds no `data`")),
        }
    }
}

/// The failure of an answer that lacks what was asked: what its errors said, or that it says nothing.
fn absent(operation: &'static str, effect: Effect, error: Option<ProviderError>) -> ProviderError {
    let silent = || effect.unreadable(operation, format!("the answer holds no `{operation}`"));
    error.unwrap_or_else(silent)
}

/// Name under which the answer for the data centre of that number comes back.
fn alias(i: usize) -> String {
    format!("dc{i}")
}

/// The document that asks for bids, and its variables.
fn bids_document(asked: &Asked<'_>) -> (String, Value) {
    let mut variables = Map::new();
    let mut set = |name: String, value: Value| drop(variables.insert(name, value));
    set("ids".into(), json!(asked.gpus));
    set("count".into(), json!(asked.count));
    set("secure".into(), json!(asked.secure));
    let (mut declared, mut places) = (String::new(), String::new());
    for (i, data_center) in asked.data_centers.iter().enumerate() {
        let name = alias(i);
        // Writing into text cannot fail.
        let _ = write!(declared, ", ${name}: String");
        let _ = write!(
            places,
            " {name}: lowestPrice(input: {{gpuCount: $count, secureCloud: $secure, \
             dataCenterId: ${name}}}) {{ minimumBidPrice stockStatus minVcpu minMemory }}"
        );
        set(name, json!(data_center));
    }
    let document = format!(
        "query Bids($ids: [String], $count: Int!, $secure: Boolean{declared}) {{ \
         myself {{ underBalance }} \
         gpuTypes(input: {{ids: $ids}}) {{ id secureSpotPrice communitySpotPrice{places} }} }}"
    );
    (document, Value::Object(variables))
}

#[cfg(test)]
mod tests;
