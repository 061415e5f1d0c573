//! Who pays and what it would cost: STS, the Pricing API, and the spot advisor's public file.

use super::ACCOUNT;
use super::xml::Xml;
use crate::facts::aws::{REGIONS, TYPES, Type};
use serde_json::{Map, Value, json};

/// GetCallerIdentity.
pub(super) fn caller() -> Xml {
    Xml::default()
        .el("Arn", format!("arn:aws:iam::{ACCOUNT}:user/sandbox"))
        .el("UserId", "AIDASANDBOX0000000000")
        .el("Account", ACCOUNT)
}

/// One price list item as the Pricing API shapes it.
fn product(t: &Type, region: &str) -> Value {
    let sku = format!("{:016X}", crate::text::hash(0, &["sku", t.name, region]));
    let offer = format!("{sku}.JRTCKXETXF");
    let rate = format!("{offer}.6YS6EN2CT7");
    let price = format!("{:.10}", t.on_demand(region).dollars());
    json!({
        "product": {
            "productFamily": "Compute Instance",
            "sku": sku,
            "attributes": attributes(t, region),
        },
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {offer: {
            "priceDimensions": {rate.clone(): {
                "unit": "Hrs", "endRange": "Inf", "beginRange": "0", "rateCode": rate,
                "description": format!("${price} per On Demand Linux {} Instance Hour", t.name),
                "appliesTo": [], "pricePerUnit": {"USD": price},
            }},
            "sku": sku, "effectiveDate": "2026-11-01T00:00:00Z",
            "offerTermCode": "JRTCKXETXF", "termAttributes": {},
        }}},
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    })
}

fn attributes(t: &Type, region: &str) -> Value {
    json!({
        "instanceType": t.name, "regionCode": region, "servicecode": "AmazonEC2",
        "locationType": "AWS Region", "location": region, "tenancy": "Shared",
        "operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used",
        "operation": "RunInstances", "licenseModel": "No License required",
        "marketoption": "OnDemand", "vcpu": t.vcpus.to_string(), "gpu": t.gpus.to_string(),
        "gpuMemory": format!("{} GB", t.gpu_mib * t.gpus / 1024),
        "memory": format!("{} GiB", t.memory_mib / 1024), "instanceFamily": "GPU instance",
        "currentGeneration": "Yes", "usagetype": format!("BoxUsage:{}", t.name),
    })
}

/// GetProducts of AmazonEC2; the error is a code and a message.
pub(super) fn products(body: &Value) -> Result<Value, (&'static str, String)> {
    if body["ServiceCode"] != "AmazonEC2" {
        let text = format!("Invalid ServiceCode {}", body["ServiceCode"]);
        return Err(("InvalidParameterException", text));
    }
    let empty = Vec::new();
    let filters = body["Filters"].as_array().unwrap_or(&empty);
    let fits = |attributes: &Value| {
        filters.iter().all(|f| {
            let field = f["Field"].as_str().unwrap_or("");
            field == "ServiceCode"
                || attributes[field].as_str().is_some_and(|a| Some(a) == f["Value"].as_str())
        })
    };
    let mut all = Vec::new();
    for t in TYPES {
        for r in REGIONS.iter().filter(|r| t.zones().iter().any(|z| z.region == r.name)) {
            if fits(&attributes(t, r.name)) {
                all.push(product(t, r.name).to_string());
            }
        }
    }
    let start = match body["NextToken"].as_str() {
        None => 0,
        Some(token) => {
            token.parse().map_err(|_| ("InvalidNextTokenException", "Invalid NextToken".into()))?
        }
    };
    let size = body["MaxResults"].as_u64().unwrap_or(100).clamp(1, 100) as usize;
    let mut answer = json!({"FormatVersion": "aws_v1"});
    if all.len() > start + size {
        answer["NextToken"] = (start + size).to_string().into();
    }
    answer["PriceList"] = all.into_iter().skip(start).take(size).collect();
    Ok(answer)
}

/// The advisor's file: interruption class and saving by region and type.
pub(super) fn advisor() -> Value {
    let labels = [("<5%", 5), ("5-10%", 11), ("10-15%", 16), ("15-20%", 22), (">20%", 100)];
    let ranges: Vec<Value> = labels
        .iter()
        .enumerate()
        .map(|(i, (label, max))| json!({"index": i, "label": label, "dots": i, "max": max}))
        .collect();
    let types: Map<String, Value> = TYPES
        .iter()
        .map(|t| {
            let facts = json!({"emr": true, "cores": t.vcpus, "ram_gb": t.memory_mib / 1024});
            (t.name.to_owned(), facts)
        })
        .collect();
    let mut regions = Map::new();
    for r in REGIONS {
        let rows: Map<String, Value> = TYPES
            .iter()
            .filter_map(|t| {
                let zone = t.zones().into_iter().find(|z| z.region == r.name)?;
                let share = t.spot_level(zone, 0).dollars() / t.on_demand(r.name).dollars();
                let saving = (100.0 * (1.0 - share)).round() as i64;
                Some((t.name.to_owned(), json!({"s": saving, "r": t.advisor_class(r.name)})))
            })
            .collect();
        regions.insert(r.name.to_owned(), json!({"Linux": rows}));
    }
    json!({
        "global_rate": "<10%", "ranges": ranges, "instance_types": types, "spot_advisor": regions,
    })
}
