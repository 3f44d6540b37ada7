//! Misbehaviour, over HTTP and in process, and the hook.

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

/// An account in paused time, and clients in process.
fn in_process() -> (LocalAws, Clients) {
    let aws = LocalAws::with(Settings {
        start: Some(start()),
        ..Settings::default()
    });
    aws.s3().create_bucket(BUCKET);
    let clients = Clients::in_process(&aws);
    (aws, clients)
}

/// What is true of every fault, whichever way the requests come.
async fn failed_calls(aws: &LocalAws, s3: &aws_sdk_s3::Client) {
    let state = || aws.s3().get(BUCKET, "state");

    aws.misbehave("PutObject", Fault::error(500, "InternalError", "oops"));
    assert_eq!(refusal(put(s3, "1").await), refused(500, "InternalError"));
    assert_eq!(state(), None);
    aws.misbehave(
        "PutObject",
        Fault::error_after(500, "InternalError", "oops"),
    );
    assert_eq!(refusal(put(s3, "2").await), refused(500, "InternalError"));
    assert_eq!(state().unwrap(), "2");
    aws.misbehave("PutObject", Fault::Throttle);
    assert_eq!(refusal(put(s3, "3").await), refused(503, "SlowDown"));
    aws.misbehave("PutObject", Fault::Disconnect);
    let error = put(s3, "4").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(state().unwrap(), "2");
    aws.misbehave("PutObject", Fault::LostReply);
    let error = put(s3, "5").await.unwrap_err();
    let SdkError::DispatchFailure(failure) = &error else {
        panic!("there should be no answer: {error:?}");
    };
    // The same class that the SDK's own client gives it: worth a retry.
    assert!(failure.as_other().is_some(), "{failure:?}");
    assert_eq!(state().unwrap(), "5");
    let answers: Vec<_> = aws
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
    assert_eq!(answers, expected);
    assert_eq!(aws.calls_of("PutObject")[4].fault, Some(Fault::LostReply));
}

/// The same for bodies that are cut, and for the other services.
async fn cut_bodies(aws: &LocalAws, s3: &aws_sdk_s3::Client, sns: &aws_sdk_sns::Client) {
    aws.misbehave(
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

    aws.misbehave("Publish", Fault::Throttle);
    let topic = aws.sns().create_topic("t");
    let publish = || sns.publish().topic_arn(&topic).message("x").send();
    assert_eq!(refusal(publish().await), refused(400, "Throttling"));
    aws.misbehave("Publish", Fault::LostReply);
    publish().await.unwrap_err();
    assert_eq!(aws.sns().messages().len(), 1);
    // A reply that is cut within its document is no reply.
    aws.misbehave("Publish", Fault::CutBody { after: 10 });
    publish().await.unwrap_err();
    assert_eq!(aws.sns().messages().len(), 2);
    assert_eq!(aws.pending_faults(), 0);
}

#[tokio::test]
async fn every_fault_over_http() {
    let World { aws, s3, sns, .. } = &World::new().await;
    failed_calls(aws, s3).await;
    cut_bodies(aws, s3, sns).await;
}

#[tokio::test(start_paused = true)]
async fn every_fault_in_process() {
    let (aws, clients) = in_process();
    failed_calls(&aws, &clients.s3()).await;
    cut_bodies(&aws, &clients.s3(), &clients.sns()).await;
}

#[tokio::test(start_paused = true)]
async fn late_and_hanging_answers_meet_the_timeouts_of_the_client() {
    let (aws, mut clients) = in_process();
    let seconds = Duration::from_secs;
    clients.timeouts = TimeoutConfig::builder().read_timeout(seconds(10)).build();
    let s3 = clients.s3();

    let began = Instant::now();
    aws.misbehave("PutObject", Fault::Late(seconds(9)));
    put(&s3, "1").await.unwrap();
    assert_eq!(began.elapsed(), seconds(9));

    for (fault, stored) in [
        (Fault::Hang, "1"),
        (Fault::HangAfter, "3"),
        (Fault::Late(seconds(11)), "3"),
    ] {
        aws.misbehave("PutObject", fault.clone());
        let began = Instant::now();
        let error = put(&s3, "3").await.unwrap_err();
        let SdkError::DispatchFailure(failure) = &error else {
            panic!("there should be no answer: {error:?}");
        };
        assert!(failure.is_timeout());
        assert_eq!(began.elapsed(), seconds(10));
        assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), stored, "{fault:?}");
    }

    // A request that was long on its way is worked on although nobody waits for it any more.
    aws.misbehave("PutObject", Fault::Delayed(seconds(60)));
    put(&s3, "late").await.unwrap_err();
    assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), "3");
    tokio::time::sleep(seconds(51)).await;
    assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), "late");

    aws.misbehave("GetObject", Fault::StallBody { after: 2 });
    let mut got = s3
        .get_object()
        .bucket(BUCKET)
        .key("state")
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.try_next().await.unwrap().unwrap(), "la");
    let stalled = tokio::time::timeout(seconds(3), got.body.try_next()).await;
    // The SDK's own protection against stalled streams may notice first.
    assert!(matches!(stalled, Err(_) | Ok(Err(_))), "{stalled:?}");
}

/// An object without a checksum, so that the SDK hands out damaged bytes, sent in pieces of this size.
fn without_checksum(bytes: &'static [u8], piece: usize) -> Generated {
    let pieces = move || -> Pieces { Box::new(bytes.chunks(piece).map(Bytes::from_static)) };
    Generated {
        checksum: None,
        ..Generated::measured(Generated::skipping(pieces))
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_damaged_at_the_very_byte_wherever_pieces_end() {
    let (aws, clients) = in_process();
    let s3 = clients.s3();
    let whole = b"0123456789";
    for piece in [1, 3, 5, 10, 100] {
        aws.s3()
            .put(BUCKET, "state", without_checksum(whole, piece));
        for at in 0..10 {
            aws.misbehave("GetObject", Fault::CutBody { after: at });
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
                    Ok(None) => panic!("a body cut after {at} bytes came to its end"),
                    Err(error) => break error,
                }
            };
            assert!(
                format!("{error:?}").contains("broke within the body"),
                "{error:?}"
            );
            let at = usize::try_from(at).unwrap();
            assert_eq!(read, whole[..at], "pieces of {piece}");

            aws.misbehave("GetObject", Fault::FlipByte { at: at as u64 + 10 });
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
async fn retries_of_the_sdk_are_seen_as_attempts() {
    let (aws, mut clients) = in_process();
    clients.retries = RetryConfig::standard();
    let s3 = clients.s3();
    let twice = On::service(Service::S3)
        .when(|call| call.operation == "PutObject")
        .times(2);
    aws.misbehave(twice, Fault::error(503, "SlowDown", "slow down"));
    put(&s3, "1").await.unwrap();
    let calls = aws.calls_of("PutObject");
    let attempts: Vec<_> = calls.iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [Some(1), Some(2), Some(3)]);
    assert_eq!(calls[0].invocation_id, calls[2].invocation_id);
    let passed = calls[2].at.duration_since(calls[0].at).unwrap();
    assert!(passed < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn orders_for_faults_wait_for_their_turn() {
    let (aws, clients) = in_process();
    let s3 = clients.s3();
    let second = On::operation("PutObject").after(1);
    aws.misbehave(second, Fault::error(403, "AccessDenied", "no"));
    aws.misbehave(
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
    aws.behave();
    let get = s3.get_object().bucket(BUCKET).key("other").send().await;
    assert_eq!(refusal(get), refused(404, "NoSuchKey"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_can_stop_the_caller_before_and_after_a_call() {
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

    // It sees what was done, can wait, and can do harm.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    aws.on_call(move |call, phase| {
        log.lock().unwrap().push((phase, call.done));
        match phase {
            Phase::Before => {
                let wait = tokio::time::sleep(Duration::from_secs(7));
                Action::Wait(Box::pin(wait) as Pin<Box<dyn Future<Output = ()> + Send>>)
            }
            Phase::After => Action::Misbehave(Fault::LostReply),
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
async fn the_same_run_twice_is_the_same() {
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
async fn time_follows_tokio_and_can_be_pushed() {
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
async fn only_the_latest_calls_are_kept_where_that_is_wanted() {
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
