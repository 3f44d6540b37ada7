//! Invalid, deleted and outdated state.

use serde_json::{Value, json};

use super::{
    ExpectedError, STATE, alerted_entries, alerted_serials, assert_failed,
    assert_failed_and_recovered_once, assert_failure_alerted, assert_same_error, assert_settles,
    control, crash_next_run, expected_error, first_audit, messages_of_type, notified_set, put, run,
    run_audited, sorted,
};
use crate::simulator::on_paused_clock;
use crate::simulator::scenario::control_key;
use crate::simulator::world::{BUCKET, World};

/// Returns an audited world whose bucket is versioned, like the template's, or not.
async fn audited_world_in(versioned: bool) -> World {
    let world = World::new(1, 1, &[]);
    world.aws.s3().set_versioning(BUCKET, versioned);
    first_audit(world).await
}

/// Replaces the object, given its key and content.
type Damage = fn(&World, &str, &str);

const TRUNCATED: Damage =
    |world, key, content| put(world, key, content[..content.len() / 2].to_owned());
const EMPTY: Damage = |world, key, _| put(world, key, String::new());
const DELETED: Damage = |world, key, _| world.aws.s3().delete(BUCKET, key);
const NEWER: Damage = |world, key, content| {
    let newer = content.replacen("\"version\": 1", "\"version\": 99", 1);
    put(
        world,
        key,
        newer.replacen("\"version\":1", "\"version\":99", 1),
    );
};
const OF_ANOTHER_CA: Damage = |world, key, content| {
    let (ours, another) = (&world.cas[0], "00000000-1111-2222-3333-444444444444");
    let id = ours.rsplit('/').next().expect("an ARN has an id");
    put(
        world,
        key,
        content.replace(ours, &ours.replace(id, another)),
    );
};
/// A manual edit that lost an entry.
const ENTRY_REMOVED: Damage = |world, key, content| {
    let (all_but_last, _) = content.trim_end().rsplit_once('\n').expect("lines");
    put(world, key, format!("{all_but_last}\n"));
};
/// A valid set, but an earlier one.
const EARLIER: Damage = |world, key, content| {
    let (all_but_last, _) = content.trim_end().rsplit_once('\n').expect("lines");
    let (header, entries) = all_but_last.split_once('\n').unwrap_or((all_but_last, ""));
    let mut header: Value = serde_json::from_str(header).expect("the header is JSON");
    header["count"] = json!(entries.lines().count());
    put(world, key, format!("{header}\n{entries}"));
};

const RESTORE: &[&str] = &[
    "never overwrites",
    "earlier version",
    "deleting the newer versions",
    "start over",
    "docs/troubleshoot.md",
];
const DEPLOY: &[&str] = &["Deploy that version", "restore an earlier version"];

/// Damages an object of the state for three runs, the second of which starts in a new process. Checks
/// that the error is alerted once, the object is never overwritten, and that revocations are alerted only
/// after the object is restored.
async fn assert_alerted_once_until_restored(
    world: World,
    key: fn(&World) -> String,
    expected_error: ExpectedError,
    damage: Damage,
) {
    let known = world.revoke(0, "KEY_COMPROMISE");
    run_audited(&world).await;
    let key = key(&world);
    let expected_error = ExpectedError {
        message: expected_error
            .message
            .into_iter()
            .chain([key.clone()])
            .collect(),
        ..expected_error
    };
    let s3 = world.aws.s3();
    let whole = s3.get(BUCKET, &key).expect("it is there");
    damage(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
    let damaged = s3.versions(BUCKET, &key);
    let meanwhile = world.revoke(0, "SUPERSEDED");
    for number in 0..3 {
        if number == 1 {
            crash_next_run(&world);
        }
        let audit = run(&world).await;
        assert_failed(&audit, &expected_error);
        assert_failure_alerted(&world, &audit, 1);
        assert_eq!(s3.versions(BUCKET, &key), damaged);
        assert_eq!(alerted_serials(&world), std::slice::from_ref(&known));
    }

    s3.put(BUCKET, &key, whole);
    assert_settles(&world).await;

    assert_eq!(alerted_serials(&world), sorted([&known, &meanwhile]));
    assert_same_error(assert_failed_and_recovered_once(
        &world,
        expected_error.kind,
    ));
}

fn control_document(world: &World) -> String {
    control_key(world, 0)
}

#[test]
fn invalid_control_document_is_alerted_once_not_overwritten() {
    for (damage, message) in [
        (TRUNCATED, "is not a control document"),
        (EMPTY, "is not a control document"),
        (OF_ANOTHER_CA, "belongs to "),
        (DELETED, "was deleted"),
    ] {
        on_paused_clock(1, async {
            let unreadable = expected_error("StateUnreadable", &[message], RESTORE);
            assert_alerted_once_until_restored(
                audited_world_in(true).await,
                control_document,
                unreadable,
                damage,
            )
            .await;
        });
    }
}

/// Without versions, only the notified set shows that there was a control document.
#[test]
fn deleted_control_document_without_versions_is_no_fresh_start() {
    on_paused_clock(1, async {
        let deleted = expected_error("StateUnreadable", &["was deleted"], RESTORE);
        assert_alerted_once_until_restored(
            audited_world_in(false).await,
            control_document,
            deleted,
            DELETED,
        )
        .await;
    });
}

/// In a versioned bucket the versions remain, so the deletion may have been an accident.
#[test]
fn deleted_state_with_versions_left_is_no_fresh_start() {
    on_paused_clock(1, async {
        let world = audited_world_in(true).await;
        let known = world.revoke(0, "KEY_COMPROMISE");
        run_audited(&world).await;
        let s3 = world.aws.s3();
        let get = |key: String| (s3.get(BUCKET, &key).expect("it is listed"), key);
        let of_ca = control_key(&world, 0).replace(".json", "");
        let kept: Vec<_> = s3.keys(BUCKET, &of_ca).into_iter().map(get).collect();
        for (_, key) in &kept {
            s3.delete(BUCKET, key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        let audit = run(&world).await;

        let deleted = expected_error("StateUnreadable", &["was deleted"], RESTORE);
        assert_failed(&audit, &deleted);
        assert_failure_alerted(&world, &audit, 1);
        for (bytes, key) in kept {
            s3.put(BUCKET, &key, bytes);
        }
        assert_settles(&world).await;
        assert_eq!(alerted_serials(&world), sorted([&known, &new]));
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

#[test]
fn newer_control_document_is_alerted_once_not_overwritten() {
    on_paused_clock(1, async {
        let newer = expected_error("StateNewer", &["version 99", "supports version 1"], DEPLOY);
        assert_alerted_once_until_restored(
            audited_world_in(true).await,
            control_document,
            newer,
            NEWER,
        )
        .await;
    });
}

#[test]
fn invalid_notified_set_is_alerted_once_not_overwritten() {
    for (damage, message) in [
        (TRUNCATED, "cannot be read"),
        (EMPTY, "cannot be read"),
        (OF_ANOTHER_CA, "belongs to another certificate authority"),
        (ENTRY_REMOVED, "cannot be read"),
        (EARLIER, "but the control document states 2"),
        (DELETED, "is missing"),
    ] {
        on_paused_clock(1, async {
            let unreadable = expected_error("StateUnreadable", &[message], RESTORE);
            assert_alerted_once_until_restored(
                audited_world_in(true).await,
                notified_set,
                unreadable,
                damage,
            )
            .await;
        });
    }
}

#[test]
fn newer_notified_set_is_alerted_once_not_overwritten() {
    on_paused_clock(1, async {
        let newer = expected_error("StateNewer", &["notified set", "version 99"], DEPLOY);
        assert_alerted_once_until_restored(
            audited_world_in(true).await,
            notified_set,
            newer,
            NEWER,
        )
        .await;
    });
}

/// As `message.schema.json` says of `error.type` and `since`, whichever process sees the recovery.
#[test]
fn recovery_from_unreadable_state_has_the_errors_type_and_start() {
    for is_new_process in [false, true] {
        for damage in [TRUNCATED, NEWER] {
            on_paused_clock(1, async {
                let world = audited_world_in(true).await;
                let key = control_key(&world, 0);
                let whole = world.aws.s3().get(BUCKET, &key).expect("it is there");
                damage(&world, &key, str::from_utf8(&whole).expect("JSON is text"));
                let audit = run(&world).await;
                world.aws.s3().put(BUCKET, &key, whole);
                if is_new_process {
                    crash_next_run(&world);
                }

                run_audited(&world).await;

                let kind = audit["error"]["type"].as_str().expect("it failed");
                assert_same_error(assert_failed_and_recovered_once(&world, kind));
            });
        }
    }
}

/// Returns a world whose state was rolled back to before the alert on the later of two revocations, their
/// serials, and the key and content of the notified set of that time, which has been deleted since.
async fn roll_back_state() -> (World, [String; 2], (String, bytes::Bytes)) {
    let world = audited_world_in(true).await;
    let s3 = world.aws.s3();
    let early = world.revoke(0, "KEY_COMPROMISE");
    run_audited(&world).await;
    let (key, list) = (control_key(&world, 0), notified_set(&world));
    let old = s3.get(BUCKET, &key).expect("there is a state");
    let old_list = s3.get(BUCKET, &list).expect("there is a list");
    let later = world.revoke(0, "SUPERSEDED");
    run_audited(&world).await;
    assert_eq!(s3.get(BUCKET, &list), None);
    s3.put(BUCKET, &key, old);
    (world, [early, later], (list, old_list))
}

/// Checks that only the later revocation was alerted twice, with the same id.
fn assert_alerted_again(world: &World, [early, later]: &[String; 2], new: &String) {
    assert_eq!(alerted_serials(world), sorted([early, later, later, new]));
    let entries = alerted_entries(world);
    let mut ids = entries
        .iter()
        .filter(|entry| entry["serial"] == later.as_str())
        .map(|entry| &entry["revocationId"]);
    assert_eq!(ids.next(), ids.next());
    // The set also has the revocation from before the lookback.
    assert_eq!(control(world)["notifiedCount"], 4);
    assert_eq!(messages_of_type(world, "watch-started").len(), 1);
}

#[test]
fn earlier_state_repeats_alerts_with_the_same_id_and_loses_none() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = roll_back_state().await;
        world.aws.s3().put(BUCKET, &list, bytes);
        let new = world.revoke(0, "UNSPECIFIED");

        run_audited(&world).await;
        run_audited(&world).await;

        assert_alerted_again(&world, &serials, &new);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
    });
}

#[test]
fn earlier_state_without_its_set_alerts_nothing_until_restored() {
    on_paused_clock(1, async {
        let (world, serials, (list, bytes)) = roll_back_state().await;
        let new = world.revoke(0, "UNSPECIFIED");
        let gone = expected_error("StateUnreadable", &[&list, "is missing"], RESTORE);
        for _ in 0..3 {
            let audit = run(&world).await;
            assert_failed(&audit, &gone);
            assert_failure_alerted(&world, &audit, 1);
            assert_eq!(alerted_serials(&world), sorted([&serials[0], &serials[1]]));
        }

        world.aws.s3().put(BUCKET, &list, bytes);
        run_audited(&world).await;
        run_audited(&world).await;

        assert_alerted_again(&world, &serials, &new);
        assert_failed_and_recovered_once(&world, "StateUnreadable");
    });
}

/// After a fresh start the first audit alerts again on revocations within its lookback, with the same
/// ids.
#[test]
fn state_deleted_on_purpose_is_a_fresh_start() {
    on_paused_clock(1, async {
        let world = audited_world_in(false).await;
        let recent = world.revoke(0, "KEY_COMPROMISE");
        run_audited(&world).await;
        let s3 = world.aws.s3();
        for key in s3.keys(BUCKET, STATE) {
            s3.delete(BUCKET, &key);
        }
        let new = world.revoke(0, "SUPERSEDED");

        run_audited(&world).await;
        run_audited(&world).await;

        assert_eq!(alerted_serials(&world), sorted([&recent, &recent, &new]));
        let entries = alerted_entries(&world);
        let again = entries.iter().filter(|e| e["serial"] == recent.as_str());
        let ids: Vec<_> = again.map(|entry| &entry["revocationId"]).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(control(&world)["notifiedCount"], 3);
        assert_eq!(messages_of_type(&world, "watch-started").len(), 2);
        assert_eq!(messages_of_type(&world, "watch-failed").len(), 0);
    });
}
