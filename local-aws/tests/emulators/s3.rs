//! The S3 emulator as seen by the SDK over HTTP.

use std::sync::Arc;

use crate::clients::{BUCKET, Clients, World, refusal, refused};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, ChecksumType,
    CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use bytes::Bytes;
use local_aws::{BucketEncryption, Checksum, Fault, Generated};

#[tokio::test]
async fn objects_are_put_read_listed_and_deleted() {
    let World { aws, s3, .. } = &World::new().await;
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("state/ü 1.json")
        .content_type("application/json")
        .body(ByteStream::from_static(b"{}"))
        .send()
        .await
        .unwrap();
    // The MD5 of `{}`.
    assert_eq!(put.e_tag(), Some("\"99914b932bd37a50b983c5e7c90ae93b\""));

    let get = s3.get_object().bucket(BUCKET).key("state/ü 1.json");
    let got = get.send().await.unwrap();
    assert_eq!(got.content_length(), Some(2));
    assert_eq!(got.content_type(), Some("application/json"));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"{}");
    let head = s3.head_object().bucket(BUCKET).key("state/ü 1.json");
    assert_eq!(head.send().await.unwrap().e_tag(), put.e_tag());

    let delete = s3.delete_object().bucket(BUCKET).key("state/ü 1.json");
    delete.send().await.unwrap();
    assert!(aws.s3().keys(BUCKET, "").is_empty());
    let get = s3.get_object().bucket(BUCKET).key("state/ü 1.json");
    assert_eq!(refusal(get.send().await), refused(404, "NoSuchKey"));
    let get = s3.get_object().bucket("elsewhere").key("x");
    assert_eq!(refusal(get.send().await), refused(404, "NoSuchBucket"));

    let calls = aws.calls_of("PutObject");
    assert_eq!(calls[0].key.as_deref(), Some("state/ü 1.json"));
    assert_eq!(calls[0].status, Some(200));
    assert_eq!(calls[0].attempt, Some(1));
    let user_agent = calls[0].user_agent.as_deref().expect("an SDK's");
    assert!(user_agent.starts_with("aws-sdk-rust/"), "{user_agent}");
}

#[tokio::test]
async fn range_request_returns_the_range() {
    let World { aws, s3, .. } = &World::new().await;
    aws.s3().put(BUCKET, "digits", "0123456789");
    for (range, bytes, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ] {
        let get = s3.get_object().bucket(BUCKET).key("digits").range(range);
        let got = get.send().await.unwrap();
        assert_eq!(got.content_range(), Some(content_range));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), bytes.as_bytes());
    }
    let get = s3
        .get_object()
        .bucket(BUCKET)
        .key("digits")
        .range("bytes=10-");
    assert_eq!(refusal(get.send().await), refused(416, "InvalidRange"));
}

#[tokio::test]
async fn failed_precondition_refuses_writes_and_reads() {
    let World { aws, s3, .. } = &World::new().await;
    let put = || s3.put_object().bucket(BUCKET).key("state");

    let missing = put().if_match("\"x\"").body(ByteStream::from_static(b"0"));
    assert_eq!(refusal(missing.send().await), refused(404, "NoSuchKey"));
    let first = put().if_none_match("*").body(ByteStream::from_static(b"1"));
    let e_tag = first.send().await.unwrap().e_tag.unwrap();
    let again = put().if_none_match("*").body(ByteStream::from_static(b"2"));
    let precondition_failed = refused(412, "PreconditionFailed");
    assert_eq!(refusal(again.send().await), precondition_failed);
    let second = put().if_match(&e_tag).body(ByteStream::from_static(b"3"));
    second.send().await.unwrap();
    let stale = put().if_match(&e_tag).body(ByteStream::from_static(b"4"));
    assert_eq!(refusal(stale.send().await), precondition_failed);
    assert_eq!(aws.s3().get(BUCKET, "state").unwrap(), "3");

    let get = s3.get_object().bucket(BUCKET).key("state").if_match(&e_tag);
    assert_eq!(refusal(get.send().await), precondition_failed);
    let head = s3
        .head_object()
        .bucket(BUCKET)
        .key("state")
        .if_match(&e_tag);
    assert_eq!(refusal(head.send().await).0, 412);

    aws.inject("PutObject", Fault::conditional_request_conflict());
    let raced = put().body(ByteStream::from_static(b"5"));
    let conflict = refused(409, "ConditionalRequestConflict");
    assert_eq!(refusal(raced.send().await), conflict);

    let conditions: Vec<_> = aws.calls_of("PutObject").into_iter().collect();
    assert_eq!(conditions[0].if_match.as_deref(), Some("\"x\""));
    assert_eq!(conditions[1].if_none_match.as_deref(), Some("*"));
    assert_eq!(
        conditions[2].error_code.as_deref(),
        Some("PreconditionFailed")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_of_eight_concurrent_writers_wins() {
    let world = Arc::new(World::new().await);
    for round in 0..20 {
        let key = format!("state-{round}");
        for condition in ["create", "replace"] {
            let e_tag = world
                .aws
                .s3()
                .list(BUCKET, &key)
                .pop()
                .map(|info| info.e_tag);
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..8 {
                let (world, key, e_tag) = (Arc::clone(&world), key.clone(), e_tag.clone());
                writers.spawn(async move {
                    let body = format!("{condition} by {writer}");
                    let put = world.s3.put_object().bucket(BUCKET).key(key);
                    let put = match e_tag {
                        None => put.if_none_match("*"),
                        Some(e_tag) => put.if_match(format!("\"{e_tag}\"")),
                    };
                    let sent = put.body(body.clone().into_bytes().into()).send().await;
                    match sent {
                        Ok(_) => Some(body),
                        Err(error) => {
                            let lost = error
                                .raw_response()
                                .map(|response| response.status().as_u16());
                            assert_eq!(lost, Some(412), "{error:?}");
                            None
                        }
                    }
                });
            }
            let winners: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1, "round {round}, {condition}");
            assert_eq!(world.aws.s3().get(BUCKET, &key).unwrap(), winners[0]);
        }
    }
}

#[tokio::test]
async fn listings_come_in_pages() {
    let World { aws, s3, .. } = &World::new().await;
    for key in ["a/1", "a/2", "a/b/3", "a/b/4", "a/c/5", "b/6"] {
        aws.s3().put(BUCKET, key, "x");
    }
    let mut pages = s3
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("a/")
        .max_keys(2)
        .into_paginator()
        .send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 2);
        keys.extend(
            page.contents()
                .iter()
                .map(|object| object.key().unwrap().to_owned()),
        );
    }
    assert_eq!(keys, ["a/1", "a/2", "a/b/3", "a/b/4", "a/c/5"]);
    assert_eq!(aws.calls_of("ListObjectsV2").len(), 3);
}

const MIB: usize = 1024 * 1024;

async fn upload_part(
    s3: &aws_sdk_s3::Client,
    upload_id: &str,
    number: i32,
    bytes: Vec<u8>,
) -> CompletedPart {
    let part = s3
        .upload_part()
        .bucket(BUCKET)
        .key("list")
        .upload_id(upload_id)
        .part_number(number)
        .body(bytes.into())
        .send()
        .await
        .unwrap();
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(part.e_tag)
        .build()
}

#[tokio::test]
async fn multipart_upload_joins_its_parts() {
    let World { aws, s3, .. } = &World::new().await;
    let create = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("list")
        .checksum_algorithm(ChecksumAlgorithm::Crc32C)
        .send()
        .await
        .unwrap();
    let upload_id = create.upload_id().unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in [(1, vec![b'a'; 5 * MIB]), (2, vec![b'b'; 3])] {
        parts.push(upload_part(s3, upload_id, number, bytes).await);
    }
    let complete = |parts: Vec<CompletedPart>| {
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts));
        s3.complete_multipart_upload()
            .bucket(BUCKET)
            .key("list")
            .upload_id(upload_id)
            .multipart_upload(upload.build())
    };
    let reversed = parts.iter().rev().cloned().collect();
    let order = refusal(complete(reversed).send().await);
    assert_eq!(order, refused(400, "InvalidPartOrder"));
    let done = complete(parts).send().await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-2\""));
    let stored = aws.s3().get(BUCKET, "list").unwrap();
    assert_eq!(stored.len(), 5 * MIB + 3);
    let checksum = aws
        .s3()
        .list(BUCKET, "list")
        .pop()
        .unwrap()
        .checksum
        .unwrap();
    assert!(
        checksum.composite && checksum.value.ends_with("-2"),
        "{checksum:?}"
    );
    // The SDK does not verify composite checksums, but must accept them.
    let get = s3.get_object().bucket(BUCKET).key("list");
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(got.checksum_type(), Some(&ChecksumType::Composite));
    assert_eq!(
        got.body.collect().await.unwrap().to_vec().len(),
        5 * MIB + 3
    );
}

#[tokio::test]
async fn second_abort_of_an_upload_is_refused() {
    let World { s3, .. } = &World::new().await;
    let create = s3.create_multipart_upload().bucket(BUCKET).key("other");
    let upload_id = create.send().await.unwrap().upload_id.unwrap();
    let abort = || {
        s3.abort_multipart_upload()
            .bucket(BUCKET)
            .key("other")
            .upload_id(&upload_id)
    };
    abort().send().await.unwrap();
    assert_eq!(refusal(abort().send().await), refused(404, "NoSuchUpload"));
}

#[tokio::test]
async fn delete_in_a_versioned_bucket_leaves_a_marker() {
    let World { aws, s3, .. } = &World::new().await;
    aws.s3().set_versioning(BUCKET, true);
    let first = aws.s3().put(BUCKET, "state", "1");
    aws.s3().put(BUCKET, "state", "2");
    let delete = s3.delete_object().bucket(BUCKET).key("state");
    let deleted = delete.send().await.unwrap();
    assert_eq!(deleted.delete_marker(), Some(true));

    let error = s3.get_object().bucket(BUCKET).key("state").send().await;
    let SdkError::ServiceError(error) = error.unwrap_err() else {
        panic!("S3 should return an error");
    };
    assert!(error.err().is_no_such_key());
    assert_eq!(
        error.raw().headers().get("x-amz-delete-marker"),
        Some("true")
    );
    let head = s3.head_object().bucket(BUCKET).key("state").send().await;
    let head = head.unwrap_err();
    let response = head.raw_response().unwrap();
    assert_eq!(response.headers().get("x-amz-delete-marker"), Some("true"));
    let replace = s3.put_object().bucket(BUCKET).key("state").if_match(first);
    assert_eq!(refusal(replace.send().await), refused(404, "NoSuchKey"));

    let one_version = s3.delete_object().bucket(BUCKET).key("state");
    let one_version = one_version.set_version_id(deleted.version_id);
    assert_eq!(refusal(one_version.send().await).0, 501);
    let versions = aws.s3().versions(BUCKET, "state");
    assert_eq!(versions, [Some("1".into()), Some("2".into()), None]);
}

#[tokio::test]
async fn checksums_are_verified_stored_and_returned() {
    let World { aws, s3, .. } = &World::new().await;
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let key = format!("with {algorithm}");
        // For a streaming body, the SDK sends the checksum as a trailer (aws-chunked).
        let stream = aws_smithy_types::body::SdkBody::from_body_1_x(http_body_util::Full::new(
            Bytes::from_static(b"hello"),
        ));
        for body in [ByteStream::from_static(b"hello"), ByteStream::new(stream)] {
            let put = s3.put_object().bucket(BUCKET).key(&key);
            let put = put.checksum_algorithm(algorithm.clone()).content_length(5);
            put.body(body).send().await.unwrap();
            let stored = aws.s3().list(BUCKET, &key).pop().unwrap().checksum.unwrap();
            assert_eq!(stored.algorithm.name(), algorithm.as_str());
            let get = s3.get_object().bucket(BUCKET).key(&key);
            let got = get
                .checksum_mode(ChecksumMode::Enabled)
                .send()
                .await
                .unwrap();
            assert_eq!(got.checksum_type(), Some(&ChecksumType::FullObject));
            assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
        }
    }
    let get = s3.get_object().bucket(BUCKET).key("with SHA256");
    let get = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    let sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    assert_eq!(get.checksum_sha256(), Some(sha256));

    let wrong = s3.put_object().bucket(BUCKET).key("wrong");
    let wrong = wrong
        .checksum_sha256(sha256)
        .body(ByteStream::from_static(b"hallo"));
    assert_eq!(refusal(wrong.send().await), refused(400, "BadDigest"));
    assert_eq!(aws.s3().get(BUCKET, "wrong"), None);
}

#[tokio::test]
async fn flipped_byte_fails_the_checksum() {
    let World { aws, s3, .. } = &World::new().await;
    aws.s3().put(BUCKET, "report", "a report");
    aws.inject("GetObject", Fault::FlipByte { at: 3 });
    let get = s3.get_object().bucket(BUCKET).key("report");
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    let error = got.body.collect().await.unwrap_err();
    assert!(
        format!("{error:?}").contains("ChecksumMismatch"),
        "{error:?}"
    );

    // Without a stored checksum, the damage goes unnoticed.
    let without_checksum = Generated {
        checksum: None,
        ..Generated::measured(Generated::skipping(|| {
            Box::new(std::iter::once(Bytes::from_static(b"a report")))
        }))
    };
    aws.s3().put(BUCKET, "report", without_checksum);
    aws.inject("GetObject", Fault::FlipByte { at: 3 });
    let get = s3.get_object().bucket(BUCKET).key("report");
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"a rdport");
}

#[tokio::test]
async fn wrong_signatures_and_denied_actions_are_refused() {
    let World {
        aws, server, s3, ..
    } = &World::new().await;
    let mut clients = Clients::over_http(server);
    clients.secret_access_key = "wrong".to_owned();
    let get = clients.s3().get_object().bucket(BUCKET).key("x");
    assert_eq!(
        refusal(get.send().await),
        refused(403, "SignatureDoesNotMatch")
    );

    let get = || s3.get_object().bucket(BUCKET).key("report/missing");
    assert_eq!(refusal(get().send().await), refused(404, "NoSuchKey"));
    let head = || s3.head_object().bucket(BUCKET).key("report/missing");
    assert_eq!(refusal(head().send().await), refused(404, "NotFound"));
    aws.s3().deny("s3:ListBucket", BUCKET, "");
    assert_eq!(refusal(get().send().await), refused(403, "AccessDenied"));
    assert_eq!(refusal(head().send().await).0, 403);
    let list = s3.list_objects_v2().bucket(BUCKET).send().await;
    assert_eq!(refusal(list), refused(403, "AccessDenied"));

    aws.s3().allow_all();
    aws.s3().deny("s3:PutObject", BUCKET, "state/");
    let put = |key| s3.put_object().bucket(BUCKET).key(key);
    assert_eq!(
        refusal(put("state/1").send().await),
        refused(403, "AccessDenied")
    );
    put("other").send().await.unwrap();
}

#[tokio::test]
async fn bucket_settings_are_returned_or_denied() {
    let World { aws, s3, .. } = &World::new().await;
    let versioning = || s3.get_bucket_versioning().bucket(BUCKET).send();
    let encryption = || s3.get_bucket_encryption().bucket(BUCKET).send();
    let default = async || {
        let configuration = encryption().await.unwrap();
        let configuration = configuration.server_side_encryption_configuration.unwrap();
        let rule = configuration.rules.into_iter().next().unwrap();
        rule.apply_server_side_encryption_by_default.unwrap()
    };
    assert_eq!(versioning().await.unwrap().status, None);
    for (versioned, status) in [
        (true, BucketVersioningStatus::Enabled),
        (false, BucketVersioningStatus::Suspended),
    ] {
        aws.s3().set_versioning(BUCKET, versioned);
        assert_eq!(versioning().await.unwrap().status, Some(status));
    }
    assert_eq!(default().await.sse_algorithm, ServerSideEncryption::Aes256);
    for key in [None, Some("arn:aws:kms:us-east-1:123456789012:key/1")] {
        let key = key.map(str::to_owned);
        aws.s3()
            .set_encryption(BUCKET, BucketEncryption::SseKms(key.clone()));
        let default = default().await;
        assert_eq!(default.sse_algorithm, ServerSideEncryption::AwsKms);
        assert_eq!(default.kms_master_key_id, key);
    }
    let calls = aws.calls_of("GetBucketVersioning");
    assert_eq!(calls[0].bucket.as_deref(), Some(BUCKET));
    assert!(!aws.calls_of("GetBucketEncryption").is_empty());

    for action in ["s3:GetBucketVersioning", "s3:GetEncryptionConfiguration"] {
        aws.s3().deny(action, BUCKET, "");
    }
    let denied = refused(403, "AccessDenied");
    assert_eq!(refusal(versioning().await), denied);
    assert_eq!(refusal(encryption().await), denied);
    let elsewhere = s3.get_bucket_versioning().bucket("elsewhere");
    let missing = refused(404, "NoSuchBucket");
    assert_eq!(refusal(elsewhere.send().await), missing);
    let elsewhere = s3.get_bucket_encryption().bucket("elsewhere");
    assert_eq!(refusal(elsewhere.send().await), missing);
}

#[tokio::test]
async fn generated_objects_are_streamed_in_pieces() {
    let World { aws, s3, .. } = &World::new().await;
    const PIECES: u64 = 64;
    const PIECE: u64 = 1024 * 1024;
    let piece = |number: u64| Bytes::from(vec![b'a' + (number % 26) as u8; PIECE as usize]);
    let generated = Generated::measured(Generated::skipping(move || {
        Box::new((0..PIECES).map(piece))
    }));
    assert_eq!(generated.length, PIECES * PIECE);
    aws.s3().put(BUCKET, "large", generated);

    let get = s3.get_object().bucket(BUCKET).key("large");
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_length(), Some((PIECES * PIECE) as i64));
    let (mut body, mut length, mut pieces) = (got.body, 0, 0);
    while let Some(bytes) = body.try_next().await.unwrap() {
        length += bytes.len() as u64;
        pieces += 1;
    }
    assert_eq!(length, PIECES * PIECE);
    assert!(pieces >= PIECES, "only {pieces} pieces");

    let range = format!("bytes={}-{}", PIECE - 1, PIECE);
    let get = s3.get_object().bucket(BUCKET).key("large").range(range);
    let got = get.send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"ab");

    // A generator that ends before its stated length breaks the connection.
    let short = Generated {
        length: 10,
        e_tag: "short".to_owned(),
        checksum: None::<Checksum>,
        open: Arc::new(|_| Box::new(std::iter::once(Bytes::from_static(b"12345")))),
    };
    aws.s3().put(BUCKET, "short", short);
    let got = s3.get_object().bucket(BUCKET).key("short").send().await;
    got.unwrap().body.collect().await.unwrap_err();
}
