//! Which realm may reach which endpoint. Nothing here sends a byte.

use super::*;
use fleet_types::TimeScale;

const LOOPBACK: &str = "http://127.0.0.1:4566";
const DUMMY: &str = "vast-sandbox-dummy-key-00000000000000000000000000000000000000000";

fn realm(sandbox: bool, scale: f64, api: Option<&str>) -> Realm {
    let endpoint = Endpoint { api: api.map(str::to_owned), services: BTreeMap::new() };
    Realm {
        sandbox,
        time_scale: TimeScale::new(scale).expect("a factor"),
        endpoints: drivers().iter().map(|id| (*id, endpoint.clone())).collect(),
        ..Realm::default()
    }
}

fn environment(key: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("VAST_API_KEY".to_owned(), key.to_owned()),
        ("LAMBDA_API_KEY".to_owned(), key.to_owned()),
        ("AWS_ACCESS_KEY_ID".to_owned(), "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret-123456".to_owned()),
    ])
}

#[tokio::test]
async fn a_realm_reaches_only_what_it_may() {
    for (sandbox, scale, api, key, reaches) in [
        (false, 1.0, None, "real-key", true),
        (true, 1.0, Some(LOOPBACK), DUMMY, true),
        (false, 0.05, Some(LOOPBACK), DUMMY, true),
        (true, 1.0, None, "real-key", false),
        (true, 1.0, Some("https://console.vast.ai"), "real-key", false),
        (true, 1.0, Some("http://127.0.0.1.example.org"), "real-key", false),
        (false, 0.05, None, "real-key", false),
        (false, 1.0, None, DUMMY, false),
    ] {
        for id in drivers() {
            let realm = realm(sandbox, scale, api);
            let result = connect(*id, &realm, &environment(key), 1).await;
            assert_eq!(result.is_ok(), reaches, "{id} {sandbox} {scale} {api:?}: {result:?}");
            if let Err(error) = result {
                assert_eq!(error.code, "wrong-realm");
            }
        }
    }
}

#[tokio::test]
async fn a_service_beyond_loopback_is_beyond_loopback() {
    for id in drivers() {
        let mut realm = realm(true, 1.0, Some(LOOPBACK));
        let endpoint = realm.endpoints.get_mut(id).expect("an endpoint");
        endpoint.services.insert("pricing".into(), "https://pricing.example.org".into());
        assert!(connect(*id, &realm, &environment(DUMMY), 1).await.is_err());
    }
}

#[tokio::test]
async fn a_cloud_without_a_driver_says_so() {
    for id in ProviderId::ALL.into_iter().filter(|id| !drivers().contains(id)) {
        let error = connect(id, &Realm::default(), &BTreeMap::new(), 1).await.expect_err("none");
        assert!(error.text().contains("not supported yet"), "{error}");
    }
}

#[tokio::test]
async fn every_driver_is_the_cloud_it_says() {
    for id in drivers() {
        let driver = connect(*id, &realm(true, 1.0, Some(LOOPBACK)), &environment(DUMMY), 1).await;
        assert_eq!(driver.expect("a driver").id(), *id);
    }
}
