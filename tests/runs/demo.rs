//! `cargo run --example demo`: its story, and `-- --report FILE` with files that are audit reports and with
//! files that are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the demo as a user does.
fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "demo", "--"])
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("cargo runs")
}

/// Runs the demo with a file of this name and content.
fn demo_with(name: &str, content: &[u8]) -> Output {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo");
    std::fs::create_dir_all(&directory).expect("the directory can be created");
    let file = directory.join(name);
    std::fs::write(&file, content).expect("the file can be written");
    demo(&["--report", file.to_str().expect("the path is UTF-8")])
}

/// Returns the lines of the email in a part of the demo's output, without indentation, as one line.
fn email_in(part: &str) -> String {
    let email = part.split_once("Email to ").expect("an email").1;
    let end = email.find("pca-revocation-watch, message ");
    let lines = email[..end.expect("the email's end")].split_whitespace();
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn demo_tells_who_revoked_and_what_else_is_affected() {
    let output = demo(&[]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let (_, shown) = shown.split_once("2. A private key leaks").expect("part 2");
    let (leak, shown) = shown.split_once("3. A CA without CRL").expect("part 3");
    let (no_checks, last) = shown.split_once("4. The run after that").expect("part 4");

    let email = email_in(leak);
    for expected in [
        "[CRITICAL] KEY_COMPROMISE: www.example3.com.com revoked (Example Corp Issuing CA)",
        "Revoked by: role pki-admin, session m.ops, from 203.0.113.5 In use by:",
        "In use by: load balancer prod-web (us-east-1)",
        "Same key: 1 other valid certificate: 7c:41:0d:5e:93:b2:4a:1f:8e:60:c7:35:da:12:f4:09",
        "Clients: can check the CRL only (no OCSP)",
        "Revoke and replace 7c:41:0d:5e:93:b2:4a:1f:8e:60:c7:35:da:12:f4:09 as well",
        "Replace the certificate on load balancer prod-web.",
    ] {
        assert!(email.contains(expected), "no {expected:?} in {email}");
    }
    // The card and the JSON have it as well.
    for expected in [
        "by `pki-admin` · in use by `prod-web`",
        "\"role\": \"pki-admin\"",
        "\"sameKey\": true",
    ] {
        assert!(leak.contains(expected), "no {expected:?} in {leak}");
    }
    let email = email_in(no_checks);
    for expected in [
        "pump-17.example.com revoked (Example Corp Device CA)",
        "Clients: no client can learn of this revocation: the certificate has no CRL or OCSP pointer",
        "1. No client can learn of this revocation: replace the certificate everywhere and remove trust in it.",
    ] {
        assert!(email.contains(expected), "no {expected:?} in {email}");
    }
    assert!(last.contains("Messages sent: 0"), "{last}");
}

/// Returns a JSON report of `certificates` certificates that are all revoked.
fn report(certificates: u32) -> String {
    let records: Vec<_> = (1..=certificates)
        .map(|number| {
            let ca = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
            serde_json::json!({
                "awsAccountId": "123456789012",
                "certificateArn": format!("{ca}/certificate/{number:032x}"),
                "serial": format!("01:{:02x}:{:02x}", number / 256, number % 256),
                "subject": format!("CN=host{number}.example.com"),
                "notBefore": "2026-01-22T20:10:49+0000",
                "notAfter": "2028-01-17T21:10:49+0000",
                "issuedAt": "2026-01-22T21:10:49+0000",
                "revokedAt": "2026-11-20T01:02:03+0000",
                "revocationReason": "KEY_COMPROMISE",
            })
        })
        .collect();
    serde_json::to_string_pretty(&records).expect("a report is JSON")
}

#[test]
fn demo_says_what_a_file_is_that_is_no_report() {
    let whole = report(3);
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = |mark: &[u8], rest: &[u8]| [mark, rest].concat();
    let header: &[u8] = b"awsAccountId;certificateArn;serial;subject\n1;2;3;4\n";
    let cases: [(&str, Vec<u8>, &str); 9] = [
        (
            "empty.json",
            Vec::new(),
            "is empty; download the report again",
        ),
        (
            "bom.json",
            marked(b"\xef\xbb\xbf", whole.as_bytes()),
            "byte order mark",
        ),
        (
            "utf-16.json",
            marked(b"\xff\xfe", &utf16),
            "was saved as UTF-16; download",
        ),
        (
            "utf-16-unmarked.json",
            utf16,
            "was saved as UTF-16; download",
        ),
        (
            "gzip.json",
            b"\x1f\x8b\x08\0\0".to_vec(),
            "gzip; decompress it",
        ),
        ("semicolons.csv", header.to_vec(), "semicolons"),
        (
            "columns.csv",
            b"name,revokedAt\nwww,x\n".to_vec(),
            "neither serial nor",
        ),
        (
            "other-format.csv",
            whole.clone().into_bytes(),
            "or rename it",
        ),
        (
            "truncated.json",
            whole.as_bytes()[..whole.len() - 20].to_vec(),
            "the report ends too early",
        ),
    ];
    for (name, content, expected) in cases {
        let output = demo_with(name, &content);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} succeeded");
        assert!(error.contains(name) && error.contains(expected), "{error}");
        assert!(!error.contains("issue"), "{error}");
        assert!(output.stdout.is_empty(), "{name} was audited");
    }
}

#[test]
fn demo_shows_two_thousand_revocations_briefly() {
    let output = demo_with("many.json", report(2000).as_bytes());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let lines = shown.lines().count();
    assert!(lines < 500, "{lines} lines");
    for expected in [
        "[CRITICAL] 2,000 certificates revoked, all KEY_COMPROMISE",
        "2,000 certificates were revoked (all key compromise)",
        "(45 more like this)",
        "\nSMS\n---\n",
    ] {
        assert!(shown.contains(expected), "no {expected:?} in {shown}");
    }
}
