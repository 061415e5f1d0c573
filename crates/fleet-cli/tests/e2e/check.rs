//! `fleet check`: who pays, whether it can be used, and how much may still be rented.

use crate::home::Home;

#[test]
fn check_says_who_pays_and_what_is_known_of_quotas() {
    let home = Home::with_sandbox("check", &["--seed", "95"]);
    home.fleet(&["check"]).ends(0).says(&[
        "AWS: usable",
        "  quota        vCPU limits show only at a launch, which then goes on elsewhere",
        "aws service-quotas list-service-quotas --service-code ec2",
        "Vast: usable",
        "  quota        a credit of $25.00; Vast stops machines when it is used up",
    ]);
    let told = home.json(&["check", "vast"]);
    let quota = told["providers"][0]["quota"].as_str().unwrap_or_default();
    assert!(quota.contains("$25.00"), "{told}");
}
