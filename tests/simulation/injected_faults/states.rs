//! States that are not right.

use serde_json::{Value, json};

use super::{
    Named, STATE, assert_failed, assert_failed_and_recovered_once, assert_failure_told,
    assert_same_fault, comes_in_order, control, documents, entries, first_audit, named,
    new_process, notified_set, put, run, run_well, sorted, told,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, World};

/// Whether the bucket is versioned, as the template's is.
async fn audited_world_in(versioned: bool) -> World {
    let world = World::new(1, 1, &[]);
    world.aws.s3().set_versioning(BUCKET, versioned);
    first_audit(world).await
}

/// Puts these bytes in the place of the object.
type Spoil = fn(&World, &str, &str);

const CUT: Spoil = |world, key, content| put(world, key, content[..content.len() / 2].to_owned());
const EMPTY: Spoil = |world, key, _| put(world, key, String::new());
const DELETED: Spoil = |world, key, _| world.aws.s3().delete(BUCKET, key);
const NEWER: Spoil = |world, key, content| {
    let newer = content.replacen("\"version\": 1", "\"version\": 99", 1);
    put(
        world,
        key,
        newer.replacen("\"version\":1", "\"version\":99", 1),
    );
};
const OF_ANOTHER: Spoil = |world, key, content| {
    let (ours, another) = (&world.cas[0], "00000000-1111-2222-3333-444444444444");
    let id = ours.rsplit('/').next().expect("an ARN has an id");
    put(
        world,
        key,
        content.replace(ours, &ours.replace(id, another)),
    );
};
/// Somebody edited it, and an entry got lost.
const SHORT: Spoil = |world, key, content| {
    let (all_but_last, _) = content.trim_end().rsplit_once('\n').expect("lines");
    put(world, key, format!("{all_but_last}\n"));
};
/// A whole notified set, but an earlier one.
const EARLIER: Spoil = |world, key, content| {
    let (all_but_last, _) = content.trim_end().rsplit_once('\n').expect("lines");
    let (header, entries) = all_but_last.split_once('\n').unwrap_or((all_but_last, ""));
    let mut header: Value = serde_json::from_str(header).expect("the header is JSON");
    header["count"] = json!(entries.lines().count());
    put(world, key, format!("{header}\n{entries}"));
};

const RESTORE: &[&str] = &[
    "never overwritten",
    "earlier version",
    "deleting the newer versions",
    "start anew",
    "docs/operations.md",
];
const DEPLOY: &[&str] = &["Deploy that version", "restore an earlier version"];

/// An object of the state is not right for three runs, the second of which begins in a new process:
/// told once, never overwritten, nothing told meanwhile, and all of it when the object is back.
async fn is_restored(world: World, key: fn(&World) -> String, named: Named, spoil: Spoil) {
    let known = world.revoke(0, "KEY_COMPROMISE");
    run_well(&world).await;
    let key = key(&world);
    let named = Named {
        message: named.message.into_iter().chain([key.clone()]).collect(),
        ..named
    };
    let s3 = world.aws.s3();
    let whole = s3.get(BUCKET, &key).expect("it is there");
    spoil(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
    let spoiled = s3.versions(BUCKET, &key);
    let meanwhile = world.revoke(0, "SUPERSEDED");
    for number in 0..3 {
        if number == 1 {
            new_process(&world);
        }
        let audit = run(&world).await;
        assert_failed(&audit, &named);
        assert_failure_told(&world, &audit, 1);
        assert_eq!(s3.versions(BUCKET, &key), spoiled);
        assert_eq!(told(&world), std::slice::from_ref(&known));
    }

    s3.put(BUCKET, &key, whole);
    comes_in_order(&world).await;

    assert_eq!(told(&world), sorted([&known, &meanwhile]));
    assert_failed_and_recovered_once(&world, named.kind);
    assert_eq!(s3.keys(BUCKET, &error_marker_key(&world)), [""; 0]);
}

/// What remembers a fault that no control document could record.
fn error_marker_key(world: &World) -> String {
    control_key(world, 0).replace(".json", "/error.json")
}

fn control_document(world: &World) -> String {
    control_key(world, 0)
}

#[test]
fn a_control_document_that_is_not_right_is_told_once_and_never_overwritten() {
    for (spoil, message) in [
        (CUT, "is not a control document"),
        (EMPTY, "is not a control document"),
        (OF_ANOTHER, "belongs to "),
        (DELETED, "was deleted"),
    ] {
        on_paused_clock(1, async {
            let unreadable = named("StateUnreadable", &[message], RESTORE);
            is_restored(
                audited_world_in(true).await,
                control_document,
                unreadable,
                spoil,
            )
            .await;
        });
    }
}

/// Without versions nothing but the told list shows that there was a control document.
#[test]
fn a_control_document_that_was_deleted_without_a_trace_is_no_fresh_start() {
    on_paused_clock(1, async {
        let deleted = named("StateUnreadable", &["was deleted"], RESTORE);
        is_restored(
            audited_world_in(false).await,
            control_document,
            deleted,
            DELETED,
        )
        .await;
    });
}

/// In a versioned bucket, deleting leaves the versions behind, and nobody knows that it was on
/// purpose.
#[test]
fn a_state_that_was_deleted_whole_is_no_fresh_start_as_long_as_its_versions_are_there() {
    on_paused_clock(1, async {
        let world = audited_world_in(true).await;
        let known = world.revoke(0, "KEY_COMPROMISE");
        run_well(&world).await;
        let s3 = world.aws.s3();
        let get = |key: String| (s3.get(BUCKET, &key).expect("it is listed"), key);
        let kept: Vec<_> = s3.keys(BUCKET, STATE).into_iter().map(get).collect();
        for (_, key) in &kept {
            s3.delete(BUCKET, key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        let audit = run(&world).await;

        let deleted = named("StateUnreadable", &["was deleted"], RESTORE);
        assert_failed(&audit, &deleted);
        assert_failure_told(&world, &audit, 1);
        for (bytes, key) in kept {
            s3.put(BUCKET, &key, bytes);
        }
        comes_in_order(&world).await;
        assert_eq!(told(&world), sorted([&known, &new]));
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

#[test]
fn a_control_document_of_a_newer_version_is_told_once_and_never_overwritten() {
    on_paused_clock(1, async {
        let newer = named("StateNewer", &["version 99", "supports version 1"], DEPLOY);
        is_restored(audited_world_in(true).await, control_document, newer, NEWER).await;
    });
}

#[test]
fn a_told_list_that_is_not_right_is_told_once_and_never_overwritten() {
    for (spoil, message) in [
        (CUT, "cannot be read"),
        (EMPTY, "cannot be read"),
        (OF_ANOTHER, "belongs to another certificate authority"),
        (SHORT, "cannot be read"),
        (EARLIER, "but the control document states 2"),
        (DELETED, "is missing"),
    ] {
        on_paused_clock(1, async {
            let unreadable = named("StateUnreadable", &[message], RESTORE);
            is_restored(
                audited_world_in(true).await,
                notified_set,
                unreadable,
                spoil,
            )
            .await;
        });
    }
}

#[test]
fn a_told_list_of_a_newer_version_is_told_once_and_never_overwritten() {
    on_paused_clock(1, async {
        let newer = named("StateNewer", &["notified set", "version is 99"], DEPLOY);
        is_restored(audited_world_in(true).await, notified_set, newer, NEWER).await;
    });
}

/// As `message.schema.json` says of `error.type` and `since`, whichever process sees the end.
#[test]
fn the_end_of_an_unreadable_state_is_told_by_the_name_and_the_beginning_of_the_fault() {
    for is_new_process in [false, true] {
        for spoil in [CUT, NEWER] {
            on_paused_clock(1, async {
                let world = audited_world_in(true).await;
                let key = control_key(&world, 0);
                let whole = world.aws.s3().get(BUCKET, &key).expect("it is there");
                spoil(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
                let audit = run(&world).await;
                world.aws.s3().put(BUCKET, &key, whole);
                if is_new_process {
                    new_process(&world);
                }

                run_well(&world).await;

                let kind = audit["error"]["type"].as_str().expect("it failed");
                assert_same_fault(assert_failed_and_recovered_once(&world, kind));
            });
        }
    }
}

/// A world whose state went back to before `later` was told, and the key and bytes of the told list
/// of then, which has been removed since.
async fn gone_back() -> (World, [String; 2], (String, bytes::Bytes)) {
    let world = audited_world_in(true).await;
    let s3 = world.aws.s3();
    let early = world.revoke(0, "KEY_COMPROMISE");
    run_well(&world).await;
    let (key, list) = (control_key(&world, 0), notified_set(&world));
    let old = s3.get(BUCKET, &key).expect("there is a state");
    let old_list = s3.get(BUCKET, &list).expect("there is a list");
    let later = world.revoke(0, "SUPERSEDED");
    run_well(&world).await;
    assert_eq!(s3.get(BUCKET, &list), None);
    s3.put(BUCKET, &key, old);
    (world, [early, later], (list, old_list))
}

/// `later` was told a second time as the same, and nothing else was.
fn assert_told_again(world: &World, [early, later]: &[String; 2], new: &String) {
    assert_eq!(told(world), sorted([early, later, later, new]));
    let entries = entries(world);
    let mut ids = entries
        .iter()
        .filter(|entry| entry["serial"] == later.as_str())
        .map(|entry| &entry["revocationId"]);
    assert_eq!(ids.next(), ids.next());
    // The one before the look-back is remembered, too.
    assert_eq!(control(world)["notifiedCount"], 4);
    assert_eq!(documents(world, "watch-started").len(), 1);
}

#[test]
fn an_earlier_version_of_the_state_tells_again_as_the_same_and_loses_none() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = gone_back().await;
        world.aws.s3().put(BUCKET, &list, bytes);
        let new = world.revoke(0, "UNSPECIFIED");

        run_well(&world).await;
        run_well(&world).await;

        assert_told_again(&world, &serials, &new);
        assert_eq!(documents(&world, "watch-failed").len(), 0);
    });
}

#[test]
fn an_earlier_version_of_the_state_without_its_told_list_tells_nothing_until_that_is_back() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = gone_back().await;
        let new = world.revoke(0, "UNSPECIFIED");
        let gone = named("StateUnreadable", &[&list, "is missing"], RESTORE);
        for _ in 0..3 {
            let audit = run(&world).await;
            assert_failed(&audit, &gone);
            assert_failure_told(&world, &audit, 1);
            assert_eq!(told(&world), sorted([&serials[0], &serials[1]]));
        }

        world.aws.s3().put(BUCKET, &list, bytes);
        run_well(&world).await;
        run_well(&world).await;

        assert_told_again(&world, &serials, &new);
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

/// What was revoked within the look-back is told by the first audit of a fresh start, too; it has the
/// same id as before.
#[test]
fn a_state_that_was_deleted_whole_on_purpose_is_a_fresh_start() {
    on_paused_clock(1, async {
        let world = audited_world_in(false).await;
        let recent = world.revoke(0, "KEY_COMPROMISE");
        run_well(&world).await;
        let s3 = world.aws.s3();
        for key in s3.keys(BUCKET, STATE) {
            s3.delete(BUCKET, &key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        run_well(&world).await;
        run_well(&world).await;

        assert_eq!(told(&world), sorted([&recent, &recent, &new]));
        let entries = entries(&world);
        let again = entries.iter().filter(|e| e["serial"] == recent.as_str());
        let ids: Vec<_> = again.map(|entry| &entry["revocationId"]).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(control(&world)["notifiedCount"], 3);
        assert_eq!(documents(&world, "watch-started").len(), 2);
        assert_eq!(documents(&world, "watch-failed").len(), 0);
    });
}
