//! The version and the commit of this build.

/// The name of the program, as in `Cargo.toml`.
const NAME: &str = env!("CARGO_PKG_NAME");

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, from `PCA_REVOCATION_WATCH_COMMIT` at compile time: 40 hexadecimal
/// digits, or `unknown` if the variable was not set.
pub const COMMIT: &str = match commit(option_env!("PCA_REVOCATION_WATCH_COMMIT")) {
    Ok(commit) => commit,
    // Stops the build: no binary may claim a wrong commit.
    Err(problem) => panic!("{}", problem),
};

/// The commit of a build that was not given one.
const UNKNOWN: &str = "unknown";

/// Number of digits of the commit in [`app_name`], which the SDK recommends to limit to 50 characters.
const SHORT: usize = 12;

/// Returns the name of this build in the user agent of AWS calls, such as
/// `pca-revocation-watch-0.1.0-f51c9c4a1b2c`.
pub fn app_name() -> String {
    app_name_of(COMMIT)
}

fn app_name_of(commit: &str) -> String {
    let commit = commit.get(..SHORT).unwrap_or(commit);
    format!("{NAME}-{VERSION}-{commit}")
}

/// Returns the commit that a build shows.
const fn commit(variable: Option<&'static str>) -> Result<&'static str, &'static str> {
    match variable {
        None => Ok(UNKNOWN),
        Some(commit) if is_commit(commit.as_bytes()) => Ok(commit),
        Some(_) => Err(
            "PCA_REVOCATION_WATCH_COMMIT must be the 40 lowercase hexadecimal digits of a commit, as `git rev-parse HEAD` prints them, or not set",
        ),
    }
}

const fn is_commit(mut digits: &[u8]) -> bool {
    if digits.len() != 40 {
        return false;
    }
    // A loop, because iterators are not `const`.
    while let [first, rest @ ..] = digits {
        if !matches!(first, b'0'..=b'9' | b'a'..=b'f') {
            return false;
        }
        digits = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_COMMIT: &str = "f51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f901";

    #[test]
    fn commit_is_the_variable_or_unknown() {
        assert_eq!(commit(Some(A_COMMIT)), Ok(A_COMMIT));
        assert_eq!(commit(None), Ok("unknown"));
    }

    #[test]
    fn malformed_commit_is_refused() {
        for malformed in [
            "",
            "unknown",
            "f51c9c4a1b2c",
            "F51C9C4A1B2C3D4E5F60718293A4B5C6D7E8F901",
            "f51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f901\n",
            "f51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "g51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f901",
            "f51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f90é",
            "f51c9c4a1b2c3d4e5f60718293a4b5c6d7e8f901-dirty",
        ] {
            let problem = commit(Some(malformed)).expect_err(malformed);
            assert!(problem.contains("PCA_REVOCATION_WATCH_COMMIT"), "{problem}");
        }
    }

    #[test]
    fn app_name_has_version_and_start_of_the_commit() {
        let version = env!("CARGO_PKG_VERSION");
        for (commit, end) in [(A_COMMIT, "f51c9c4a1b2c"), (UNKNOWN, "unknown")] {
            let name = app_name_of(commit);
            assert_eq!(name, format!("pca-revocation-watch-{version}-{end}"));
            assert!(name.len() <= 50, "{name}");
        }
    }
}
