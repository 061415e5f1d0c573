//! Buckets against servers that others wrote: fences, ghosts, keeping, reading, making, grants, signatures.

mod admin;
mod canned;
mod fake_gcs;
mod keeping;
mod rig;
mod saving;
mod servers;
mod signing;

use rig::Rig;

/// Everything that every store must do.
async fn all_of_it(rig: &Rig) {
    saving::a_ghost_never_wins(rig).await;
    saving::only_what_is_whole_is_restored(rig).await;
    saving::a_manifest_leads_nowhere_else(rig).await;
    saving::outcome_output_and_logs_are_read(rig).await;
    signing::a_mount_is_a_folder_or_an_object(rig).await;
    keeping::what_is_named_stays(rig).await;
    keeping::a_job_is_forgotten_whole(rig).await;
    admin::a_bucket_is_made_once_and_removed_by_its_maker(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_folder() {
    let rig = Rig::folder().await;
    saving::racers_begin_from_one_base(&rig).await;
    all_of_it(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn moto() {
    let Some(rig) = Rig::moto().await else { return };
    saving::racers_begin_from_one_base(&rig).await;
    signing::parts_go_by_signed_urls(&rig).await;
    all_of_it(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rclone() {
    // No racers: it passes over the condition of a put.
    let Some(rig) = Rig::rclone().await else { return };
    signing::parts_go_by_signed_urls(&rig).await;
    signing::a_url_is_good_for_nothing_else(&rig).await;
    all_of_it(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn azurite() {
    let Some(rig) = Rig::azurite().await else { return };
    saving::racers_begin_from_one_base(&rig).await;
    signing::blocks_go_by_one_signature(&rig).await;
    signing::a_url_is_good_for_nothing_else(&rig).await;
    signing::a_trusted_machine_gets_the_container(&rig).await;
    all_of_it(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn google() {
    let rig = Rig::gcs().await;
    saving::racers_begin_from_one_base(&rig).await;
    all_of_it(&rig).await;
}
