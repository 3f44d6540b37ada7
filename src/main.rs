//! The binary that Lambda starts.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    pca_revocation_watch::runtime::run().await
}
