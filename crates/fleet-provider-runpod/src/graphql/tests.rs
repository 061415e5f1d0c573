//! The documents, and what is read out of answers.

use super::*;

#[test]
fn what_comes_from_outside_is_a_variable_and_never_in_the_document() {
    let evil = r#"x"}) { id } } mutation { podTerminate(input: {podId: "y"#;
    let asked =
        Asked { gpus: vec![evil], count: 2, secure: true, data_centers: vec![evil, "US-TX-3"] };
    let (document, variables) = bids_document(&asked);
    assert!(!document.contains("podTerminate") && !document.contains("US-TX-3"), "{document}");
    assert_eq!(variables["ids"], json!([evil]));
    assert_eq!((&variables["dc0"], &variables["dc1"]), (&json!(evil), &json!("US-TX-3")));
    assert_eq!((&variables["count"], &variables["secure"]), (&json!(2), &json!(true)));
    assert!(document.contains("$dc1: String)") && document.contains("dataCenterId: $dc1}"));
    for constant in [MYSELF, RENT] {
        assert!(!constant.contains('"'), "{constant}");
    }
}
