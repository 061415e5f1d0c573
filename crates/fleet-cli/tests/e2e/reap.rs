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
