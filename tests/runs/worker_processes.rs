//! Many CAs through the audit queue, each CA one invocation of one of five workers: the real binary, and
//! 200 CAs in this process. Private CA's real request quotas apply. docs/scale.md has the figures of the
//! real binary for 200 CAs.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::account::InProcess;
use crate::account::many::{AUDITABLE, Account, BUCKET, Certificates, Queues, outcomes};
use crate::common::{CA_ID, Function, World};
use pca_revocation_watch::config::Config;
use pca_revocation_watch::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

const WORKERS: usize = 5;
const PERIOD: Duration = Duration::from_secs(1800);

fn scheduled(aws: &local_aws::LocalAws) -> Value {
    json!({
        "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}",
        "time": Timestamp::from(aws.clock().now()),
    })
}

fn config(account: &Account, queues: &Queues) -> Config {
    let config = Config::from_lookup(|name| {
        let of_queues = queues.environment();
        let of_queues = of_queues.iter().find(|(known, _)| *known == name);
        let value = match name {
            "AWS_REGION" => "us-east-1",
            "AWS_ENDPOINT_URL" => "http://localhost",
            "CERTIFICATE_AUTHORITY_ARNS" => "*",
            "REPORT_BUCKET" => BUCKET,
            "TOPIC_ARN" => &account.topic,
            "AUDIT_INTERVAL_MINUTES" => "30",
            _ => of_queues?.1,
        };
        Some(value.to_owned())
    });
    config.expect("a configuration")
}

/// Checks that under 1% of the calls since the last check were throttled, and forgets them.
fn assert_quotas_kept(account: &Account) {
    let (by_operation, throttled) = account.calls();
    let calls: usize = by_operation.values().sum();
    assert!(throttled * 100 < calls, "{throttled} of {by_operation:?}");
    account.aws.forget_calls();
}

#[tokio::test(start_paused = true)]
async fn five_workers_audit_200_cas_within_the_quotas() {
    let account = Account::new(Certificates {
        ordinary: 20,
        huge: 2_000,
    });
    let queues = Queues::create(&account.aws);
    let config = || config(&account, &queues);
    let dispatcher = InProcess::new(&account.aws, config());
    let workers: VecDeque<_> = (0..WORKERS).map(|_| dispatcher.another(config())).collect();
    account.schedule_reports();
    let free = RefCell::new(workers);
    let mapping = queues.mapping(&account.aws, WORKERS);
    let work = mapping.run(async |event| {
        // In turns: each process needs its own lookups.
        let worker = free.borrow_mut().pop_front().ok_or("no worker is free")?;
        let worked = worker.invoke(event).await;
        free.borrow_mut().push_back(worker);
        worked.map_err(|error| error.error_message)
    });
    let schedules = async {
        let began = Instant::now();
        let first = dispatcher.invoke(scheduled(&account.aws)).await.unwrap();
        tokio::time::sleep_until(began + PERIOD).await;
        assert_eq!(outcomes(&first), [("queued".to_owned(), AUDITABLE)].into());
        // The failing report is no complete audit. Each ordinary CA lists 20 certificates.
        assert_eq!(account.audited(), [(20, AUDITABLE - 2), (2_000, 1)].into());
        assert_eq!(account.published().len(), 0);
        assert_quotas_kept(&account);

        // The events of all revocations are in one period, whose pages are read once.
        account.revoke_one_of_each();
        let second = dispatcher.invoke(scheduled(&account.aws)).await.unwrap();
        account.aws.sqs().drained(&queues.audits).await;
        assert_eq!(outcomes(&second), outcomes(&first));
    };
    tokio::select! {
        never = work => never,
        () = schedules => {}
    }

    assert_eq!(account.audited(), [(21, AUDITABLE - 1), (2_001, 1)].into());
    let published = account.published();
    assert_eq!(published.len(), AUDITABLE);
    assert!(published.values().all(|&times| times == 1), "{published:?}");
    // An alert whose lookup was throttled does not say who revoked.
    let revoked_by = account.revoked_by();
    let known = revoked_by["known"];
    assert!(known + 2 * WORKERS >= AUDITABLE, "{revoked_by:?}");
    assert_eq!(account.aws.sqs().messages(&queues.dead_letters).len(), 0);
    let (by_operation, _) = account.calls();
    let lookups = by_operation["LookupEvents"];
    assert!(lookups < AUDITABLE / 2, "{by_operation:?}");
    assert_quotas_kept(&account);
}

#[tokio::test]
async fn five_processes_audit_30_cas_within_the_quotas() {
    const CAS: usize = 30;
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::from_secs(1));
    let others = (1..CAS).map(|number| pca.create(&format!("Example Corp CA {number}")));
    let cas: BTreeSet<String> = others.chain([world.ca.clone()]).collect();
    let mut revoked = BTreeSet::new();
    for ca in &cas {
        let serial = pca.issue(ca, "www.example.com");
        assert!(pca.revoke(ca, &serial, "KEY_COMPROMISE"));
        revoked.insert((ca.clone(), serial));
    }
    let queues = Queues::create(&world.aws);
    let mut variables = vec![("CERTIFICATE_AUTHORITY_ARNS", "*")];
    variables.extend(queues.environment());
    let mut functions = Vec::new();
    for _ in 0..WORKERS {
        functions.push(world.function(&variables).await);
    }
    let dispatcher = world.function(&variables).await;

    let response = work(&world, &queues, &dispatcher, &functions).await;

    assert_eq!(outcomes(&response), [("queued".to_owned(), CAS)].into());
    let messages = world.messages();
    let published: Vec<_> = messages
        .iter()
        .filter(|message| message["type"] == "revocations")
        .map(|message| {
            let ca = message["certificateAuthorityArn"].as_str().unwrap();
            let revocations = message["revocations"].as_array().unwrap();
            assert_eq!(revocations.len(), 1);
            let serial = revocations[0]["serial"].as_str().unwrap();
            (ca.to_owned(), serial.to_owned())
        })
        .collect();
    assert_eq!(published.len(), CAS);
    assert_eq!(published.into_iter().collect::<BTreeSet<_>>(), revoked);
    let calls = world.aws.calls();
    let throttled = calls.iter().filter(|call| {
        let code = call.error_code.as_deref();
        code.is_some_and(|code| code == "ThrottlingException")
    });
    let throttled = throttled.count();
    assert!(throttled * 100 < calls.len(), "{throttled}");
}

#[tokio::test]
async fn dispatch_emits_the_age_of_the_oldest_audit() {
    let world = World::new().await;
    let pca = world.aws.private_ca();
    pca.set_reports(|reports| reports.delay = Duration::ZERO);
    pca.create("Example Corp CA 1");
    let queues = Queues::create(&world.aws);
    let mut variables = vec![
        ("CERTIFICATE_AUTHORITY_ARNS", "*"),
        ("MAX_INLINE_CERTIFICATE_AUTHORITIES", "1"),
    ];
    variables.extend(queues.environment());
    let function = world.function(&variables).await;
    let dispatch = async || function.invoke(scheduled(&world.aws)).await.unwrap();
    dispatch().await;
    // It audits all CAs itself.
    function.invoke(json!({})).await.unwrap();
    dispatch().await;
    let two_hours_ago = world.aws.clock().now() - 4 * PERIOD;
    let mut control = world.control();
    control["lastCompleteAudit"]["requestedAt"] = json!(Timestamp::from(two_hours_ago));
    let key = format!("revocation-watch/{CA_ID}.json");
    world.aws.s3().put(BUCKET, &key, control.to_string());
    let response = dispatch().await;

    assert_eq!(outcomes(&response), [("queued".to_owned(), 2)].into());
    let mut lines = function.output().await;
    lines.retain(|line| line["AuditsQueued"] == json!(2.0));
    let ages: Vec<_> = lines
        .iter()
        .map(|line| line["OldestAuditAgeMinutes"].as_f64())
        .collect();
    let [None, Some(young), Some(old)] = ages[..] else {
        panic!("{ages:?}")
    };
    // The test itself takes seconds.
    assert!((0.0..10.0).contains(&young), "{young}");
    assert!((120.0..130.0).contains(&old), "{old}");
}

/// Sends the schedule's event, and has the workers audit all CAs. Takes about a second for each CA, as
/// Private CA's quota allows one report per second.
async fn work(
    world: &World,
    queues: &Queues,
    dispatcher: &Function,
    workers: &[Function],
) -> Value {
    /// A watchdog, many times what the audits take on a busy machine.
    const LIMIT: Duration = Duration::from_secs(300);
    let working = queues.work(&world.aws, workers, async |worker, event| {
        let worked = worker.invoke(event).await;
        worked.map_err(|error| error.to_string())
    });
    let audits = async {
        let response = dispatcher.invoke(scheduled(&world.aws)).await.unwrap();
        // The comparison of the health document is due 15 minutes later.
        while queues.unfinished(&world.aws) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        response
    };
    tokio::select! {
        never = working => never,
        response = audits => response,
        () = tokio::time::sleep(LIMIT) => panic!("the queue was not empty after {LIMIT:?}"),
    }
}
