//! Injected faults, over HTTP and in process, and the hook.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clients::{BUCKET, Clients, World, refusal, refused, start};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use local_aws::{Action, Fault, Generated, LocalAws, On, Phase, Pieces, Service, Settings};
use tokio::time::Instant;

type Put = Result<PutObjectOutput, SdkError<PutObjectError>>;

async fn put(s3: &aws_sdk_s3::Client, body: &'static str) -> Put {
    let put = s3.put_object().bucket(BUCKET).key("state");
    put.body(body.as_bytes().to_vec().into()).send().await
}

/// Creates an account for paused time, and clients in process.
fn in_process() -> (LocalAws, Clients) {
    let aws = LocalAws::with(Settings {
        start: Some(start()),
        ..Settings::default()
    });
    aws.s3().create_bucket(BUCKET);
    let clients = Clients::in_process(&aws);
    (aws, clients)
}

/// Checks faults that fail a call, independent of the transport.
async fn failed_calls(aws: &LocalAws, s3: &aws_sdk_s3::Client) {
    let state = || aws.s3().get(BUCKET, "state");

    aws.inject("PutObject", Fault::error(500, "InternalError", "oops"));
    assert_eq!(refusal(put(s3, "1").await), refused(500, "InternalError"));
    assert_eq!(state(), None);
    aws.inject(
        "PutObject",
        Fault::error_after(500, "InternalError", "oops"),
    );
    assert_eq!(refusal(put(s3, "2").await), refused(500, "InternalError"));
    assert_eq!(state().unwrap(), "2");
    aws.inject("PutObject", Fault::Throttle);
    assert_eq!(refusal(put(s3, "3").await), refused(503, "SlowDown"));
    aws.inject("PutObject", Fault::Disconnect);
    let error = put(s3, "4").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(state().unwrap(), "2");
    aws.inject("PutObject", Fault::LostReply);
    let error = put(s3, "5").await.unwrap_err();
    let SdkError::DispatchFailure(failure) = &error else {
        panic!("there should be no response: {error:?}");
    };
    // The SDK's own client uses the same class, which is retried.
    assert!(failure.as_other().is_some(), "{failure:?}");
    assert_eq!(state().unwrap(), "5");
    let responses: Vec<_> = aws
        .calls_of("PutObject")
        .into_iter()
        .map(|call| (call.done, call.status))
        .collect();
    let expected = [
        (false, Some(500)),
        (true, Some(500)),
        (false, Some(503)),
        (false, None),
        (true, None),
    ];
    assert_eq!(responses, expected);
    assert_eq!(aws.calls_of("PutObject")[4].fault, Some(Fault::LostReply));
}

/// Checks truncated bodies and faults of other services, independent of the transport.
async fn cut_bodies(aws: &LocalAws, s3: &aws_sdk_s3::Client, sns: &aws_sdk_sns::Client) {
    aws.inject(
        On::operation("GetObject").key_contains("stat"),
        Fault::CutBody { after: 3 },
    );
    aws.s3().put(BUCKET, "state", "0123456789");
    let get = || s3.get_object().bucket(BUCKET).key("state").send();
    let mut got = get().await.unwrap();
    assert_eq!(got.content_length(), Some(10));
    assert_eq!(got.body.try_next().await.unwrap().unwrap(), "012");
    got.body.try_next().await.unwrap_err();
    let got = get().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"0123456789");

    aws.inject("Publish", Fault::Throttle);
    let topic = aws.sns().create_topic("t");
    let publish = || sns.publish().topic_arn(&topic).message("x").send();
    assert_eq!(refusal(publish().await), refused(400, "Throttling"));
    aws.inject("Publish", Fault::LostReply);
    publish().await.unwrap_err();
    assert_eq!(aws.sns().messages().len(), 1);
    // A response that is truncated within its document counts as lost.
    aws.inject("Publish", Fault::CutBody { after: 10 });
    publish().await.unwrap_err();
    assert_eq!(aws.sns().messages().len(), 2);
    assert_eq!(aws.pending_faults(), 0);
}

#[tokio::test]
async fn faults_over_http_fail_calls() {
    let World { aws, s3, sns, .. } = &World::new().await;
    failed_calls(aws, s3).await;
    cut_bodies(aws, s3, sns).await;
}

#[tokio::test(start_paused = true)]
async fn faults_in_process_fail_calls() {
    let (aws, clients) = in_process();
    failed_calls(&aws, &clients.s3()).await;
    cut_bodies(&aws, &clients.s3(), &clients.sns()).await;
}

#[tokio::test(start_paused = true)]
async fn late_and_missing_responses_time_out() {
    let (aws, mut clients) = in_process();
    let seconds = Duration::from_secs;
    clients.timeouts = TimeoutConfig::builder().read_timeout(seconds(10)).build();
    let s3 = clients.s3();

    let began = Instant::now();
    aws.inject("PutObject", Fault::Late(seconds(9)));
    put(&s3, "1").await.unwrap();
    assert_eq!(began.elapsed(), seconds(9));

    for (fault, stored) in [
        (Fault::Hang, "1"),
        (Fault::HangAfter, "3"),
        (Fault::Late(seconds(11)), "3"),
    ] {
        aws.inject("PutObject", fault.clone());
        let began = Instant::now();
        let error = put(&s3, "3").await.unwrap_err();
        let SdkError::DispatchFailure(failure) = &error else {
            panic!("there should be no response: {error:?}");
        };
        assert!(failure.is_timeout());
        assert_eq!(began.elapsed(), seconds(10));
        assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), stored, "{fault:?}");
    }

    // A delayed request is processed although the caller has timed out.
    aws.inject("PutObject", Fault::Delayed(seconds(60)));
    put(&s3, "late").await.unwrap_err();
    assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), "3");
    tokio::time::sleep(seconds(51)).await;
    assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), "late");

    aws.inject("GetObject", Fault::StallBody { after: 2 });
    let mut got = s3
        .get_object()
        .bucket(BUCKET)
        .key("state")
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.try_next().await.unwrap().unwrap(), "la");
    let stalled = tokio::time::timeout(seconds(3), got.body.try_next()).await;
    // The SDK's stalled stream protection may report it first.
    assert!(matches!(stalled, Err(_) | Ok(Err(_))), "{stalled:?}");
}

/// Returns content sent in pieces of this size, without a checksum, so that the SDK returns damaged bytes.
fn without_checksum(bytes: &'static [u8], piece: usize) -> Generated {
    let pieces = move || -> Pieces { Box::new(bytes.chunks(piece).map(Bytes::from_static)) };
    Generated {
        checksum: None,
        ..Generated::measured(Generated::skipping(pieces))
    }
}

#[tokio::test(start_paused = true)]
async fn damage_hits_the_exact_byte_for_any_piece_size() {
    let (aws, clients) = in_process();
    let s3 = clients.s3();
    let whole = b"0123456789";
    for piece in [1, 3, 5, 10, 100] {
        aws.s3()
            .put(BUCKET, "state", without_checksum(whole, piece));
        for at in 0..10 {
            aws.inject("GetObject", Fault::CutBody { after: at });
            let mut got = s3
                .get_object()
                .bucket(BUCKET)
                .key("state")
                .send()
                .await
                .unwrap();
            let mut read = Vec::new();
            let error = loop {
                match got.body.try_next().await {
                    Ok(Some(bytes)) => read.extend_from_slice(&bytes),
                    Ok(None) => panic!("a body truncated after {at} bytes ended normally"),
                    Err(error) => break error,
                }
            };
            assert!(
                format!("{error:?}").contains("broke within the body"),
                "{error:?}"
            );
            let at = usize::try_from(at).unwrap();
            assert_eq!(read, whole[..at], "pieces of {piece}");

            aws.inject("GetObject", Fault::FlipByte { at: at as u64 + 10 });
            let got = s3
                .get_object()
                .bucket(BUCKET)
                .key("state")
                .send()
                .await
                .unwrap();
            let read = got.body.collect().await.unwrap().to_vec();
            let mut expected = whole.to_vec();
            expected[at] ^= 1;
            assert_eq!(read, expected, "pieces of {piece}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sdk_retries_are_recorded_as_attempts() {
    let (aws, mut clients) = in_process();
    clients.retries = RetryConfig::standard();
    let s3 = clients.s3();
    let twice = On::service(Service::S3)
        .when(|call| call.operation == "PutObject")
        .times(2);
    aws.inject(twice, Fault::error(503, "SlowDown", "slow down"));
    put(&s3, "1").await.unwrap();
    let calls = aws.calls_of("PutObject");
    let attempts: Vec<_> = calls.iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [Some(1), Some(2), Some(3)]);
    assert_eq!(calls[0].invocation_id, calls[2].invocation_id);
    let passed = calls[2].at.duration_since(calls[0].at).unwrap();
    assert!(passed < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn faults_apply_after_skipped_calls_and_until_cleared() {
    let (aws, clients) = in_process();
    let s3 = clients.s3();
    let second = On::operation("PutObject").after(1);
    aws.inject(second, Fault::error(403, "AccessDenied", "no"));
    aws.inject(
        On::any()
            .when(|call| call.key.as_deref() == Some("other"))
            .always(),
        Fault::Throttle,
    );
    put(&s3, "1").await.unwrap();
    assert_eq!(refusal(put(&s3, "2").await), refused(403, "AccessDenied"));
    put(&s3, "3").await.unwrap();
    for _ in 0..3 {
        let get = s3.get_object().bucket(BUCKET).key("other").send().await;
        assert_eq!(refusal(get), refused(503, "SlowDown"));
    }
    aws.clear_faults();
    let get = s3.get_object().bucket(BUCKET).key("other").send().await;
    assert_eq!(refusal(get), refused(404, "NoSuchKey"));
}

#[tokio::test(start_paused = true)]
async fn hook_stops_delays_and_breaks_calls() {
    let (aws, clients) = in_process();
    let s3 = clients.s3();
    for (phase, stored) in [(Phase::Before, false), (Phase::After, true)] {
        aws.s3().delete(BUCKET, "state");
        aws.on_call(move |call, now| {
            if call.operation == "PutObject" && now == phase {
                Action::Stop
            } else {
                Action::Proceed
            }
        });
        let killed = tokio::time::timeout(Duration::from_secs(5), put(&s3, "1")).await;
        assert!(killed.is_err());
        assert_eq!(aws.s3().get(BUCKET, "state").is_some(), stored, "{phase:?}");
    }

    // It sees what was processed, delays the call and injects a fault.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    aws.on_call(move |call, phase| {
        log.lock().unwrap().push((phase, call.done));
        match phase {
            Phase::Before => {
                let wait = tokio::time::sleep(Duration::from_secs(7));
                Action::Wait(Box::pin(wait) as Pin<Box<dyn Future<Output = ()> + Send>>)
            }
            Phase::After => Action::Inject(Fault::LostReply),
        }
    });
    let began = Instant::now();
    put(&s3, "2").await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    assert_eq!(
        *seen.lock().unwrap(),
        [(Phase::Before, false), (Phase::After, true)]
    );
    aws.clear_hook();
    put(&s3, "3").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn repeated_run_has_identical_results() {
    let run = async || {
        let (aws, clients) = in_process();
        let ca = aws.private_ca().create("Example CA");
        aws.private_ca().issue(&ca, "www.example.com");
        let created = clients
            .pca()
            .create_certificate_authority_audit_report()
            .certificate_authority_arn(&ca)
            .s3_bucket_name(BUCKET)
            .audit_report_response_format("JSON".into())
            .send()
            .await
            .unwrap();
        let key = created.s3_key.unwrap();
        let at = aws.calls()[0].at;
        (aws.s3().get(BUCKET, &key), key, at)
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn clock_follows_tokio_and_can_be_advanced() {
    let (aws, _) = in_process();
    assert_eq!(aws.clock().now(), start());
    tokio::time::sleep(Duration::from_secs(5)).await;
    aws.advance(Duration::from_secs(3600));
    assert_eq!(aws.clock().now(), start() + Duration::from_secs(3605));
    aws.s3().put(BUCKET, "x", "x");
    assert_eq!(
        aws.s3().list(BUCKET, "x")[0].last_modified,
        aws.clock().now()
    );
}

#[tokio::test]
async fn recording_keeps_only_the_latest_calls_if_limited() {
    let World { aws, s3, .. } = &World::new().await;
    aws.keep_calls(Some(2));
    for body in ["1", "2", "3"] {
        put(s3, body).await.unwrap();
    }
    let calls = aws.calls();
    let numbers: Vec<_> = calls
        .iter()
        .map(|call| (call.number, call.status))
        .collect();
    assert_eq!(numbers, [(1, Some(200)), (2, Some(200))]);
    aws.forget_calls();
    put(s3, "4").await.unwrap();
    assert_eq!(aws.calls()[0].number, 3);
}
