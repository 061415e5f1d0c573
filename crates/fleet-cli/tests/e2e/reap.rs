//! `fleet reap`: what carries our tag is found in the clouds and ended, with and without a database.

use crate::home::{Home, example};

/// A home whose jobs run on machines of both clouds, and whose server and database are then lost.
fn bereaved(name: &'static str) -> Home {
    let home = Home::with_sandbox(name, &["--seed", "51"]);
    for infra in ["aws", "vast"] {
        let id = home.launch(&example("train.yaml"), &["--infra", infra, "--env", "STEPS=2000"]);
        home.until_log(&id, "step 1 of");
    }
    home.kill_server();
    let mut lost = 0;
    for entry in std::fs::read_dir(home.path()).expect("the home").flatten() {
        if entry.file_name().to_string_lossy().starts_with("fleet.db") {
            std::fs::remove_file(entry.path()).expect("removed");
            lost += 1;
        }
    }
    assert!(lost > 0, "no database was found");
    assert_eq!(home.ledger().alive().len(), 2, "the machines live on without a server");
    home
}

#[test]
fn reap_ends_everything_of_a_fleet_whose_database_is_lost() {
    let home = bereaved("reap");
    home.fleet(&["reap"]).ends(2).says(&["-y"]);
    let alive = home.ledger().alive();
    let looked = home.json(&["reap", "--dry-run"]);
    for id in &alive {
        assert!(looked.to_string().contains(id.as_str()), "{id} is not in {looked}");
    }
    assert_eq!(home.ledger().alive(), alive, "a dry run ended something");
    home.fleet(&["reap", "-y"]).ends(0);
    assert!(home.ledger().alive().is_empty(), "not ended at once");
    home.drained();
    assert_eq!(home.server_pid(), None, "reap without a database starts no server");
}

#[test]
fn a_fleet_is_reaped_from_another_home_by_its_id_alone() {
    let home = bereaved("reap-by-id");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).expect("a config");
    let id = config.lines().find_map(|l| l.strip_prefix("fleet_id:")).expect("an id").trim();
    let id = id.trim_matches(['"', '\'']);

    let mut other = Home::new("reap-elsewhere");
    let own: Vec<_> = other.env.clone().into_iter().collect();
    other.env = home.env.clone();
    for (name, value) in own.into_iter().filter(|(n, _)| n == "FLEET_HOME" || n == "HOME") {
        other.env.insert(name, value);
    }
    // Another fleet's own reap leaves ours alone.
    other.fleet(&["reap", "-y"]).ends(0);
    other.fleet(&["reap", "--fleet", "00000000000000000000000000000000", "-y"]).ends(0);
    assert_eq!(home.ledger().alive().len(), 2, "a stranger's machines were ended");
    other.fleet(&["reap", "--fleet", "nonsense", "-y"]).ends(2);
    // Listed with what they cost and asked about: with nobody to ask, nothing is ended.
    let alive = home.ledger().alive();
    let looked = other.json(&["reap", "--fleet", id, "--dry-run"]);
    for item in looked["items"].as_array().expect("items").iter().filter(|i| i["kind"] == "machine")
    {
        assert!(item["price_usd_per_hour"].as_f64().is_some_and(|p| p > 0.0), "{item}");
        assert!(item["instance_type"].is_string() && item["since"].is_string(), "{item}");
        assert_eq!(item["verdict"], "would-end", "{item}");
    }
    let capitals = id.to_ascii_uppercase();
    let said = other.fleet(&["reap", "--fleet", &capitals]).ends(2);
    let next = format!("fleet reap --fleet {id} -y");
    let mut words = vec!["2 machines, $", "an hour together", "not of this home's", next.as_str()];
    words.extend(alive.iter().map(String::as_str));
    said.says(&words);
    assert_eq!(home.ledger().alive(), alive, "ended without a yes");
    // Its own home knows it: there it is no foreign fleet, also when it is named.
    home.fleet(&["reap", "--fleet", &capitals]).ends(2).says(&["--dry-run to see them"]);
    other.fleet(&["reap", "--fleet", id, "-y"]).ends(0);
    home.drained();
}

#[test]
fn reap_with_a_server_keeps_what_a_live_job_owns() {
    let home = Home::with_sandbox("reap-live", &["--seed", "52"]);
    let id =
        home.launch(&example("train.yaml"), &["--env", "STEPS=20", "--env", "STEP_SECONDS=0.2"]);
    home.until_log(&id, "step 1 of");
    home.fleet(&["reap", "-y"]).ends(0);
    let job = home.succeeded(&id);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "its machine was reaped: {job}");
    home.drained();
    home.fleet(&["reap", "-y"]).ends(0);
}
