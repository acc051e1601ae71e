//! The audit over HTTP: for `bursar verify` on a store that is being served.

use crate::http::answer::Answer;
use crate::http::order::audit_line;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::{BoxFuture, Peer};
use crate::telemetry::facts;
use crate::verify;
use bursar_store::api::Administer;
use bursar_store::error::StoreError;
use serde_json::json;
use std::path::PathBuf;

/// `GET /api/v1/digest`.
pub fn digest(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let state_digest = call.whole_store()?.state_digest().await?;
        let (record, hash) = call.whole_store()?.chain_head().await?;
        Ok(Answer::json(
            &json!({"stateDigest": state_digest, "chainHead": format!("{record}:{hash}")}),
        ))
    })
}

/// `POST /api/v1/backup`: on this machine only, since it writes a file where it is told to.
pub fn backup(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        if call.peer != Peer::ControlSocket {
            let detail = "a backup is written by `bursar backup` on the machine itself";
            return Err(Problem::new(Code::Refused, detail));
        }
        let path = PathBuf::from(call.fields.text("path").unwrap_or_default());
        if !path.is_absolute() {
            let detail = "`path` must be a whole path";
            return Err(Problem::field("path", FieldCode::Malformed, detail));
        }
        let manifest = match call.whole_store()?.backup(path.clone()).await {
            Ok(manifest) => manifest,
            Err(error @ (StoreError::Io { .. } | StoreError::Invalid(_))) => {
                return Err(Problem::new(Code::StateConflict, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let detail = format!("up to record {}", manifest.record);
        let (shown, now) = (path.display().to_string(), call.edge.now());
        let write = Administer {
            keeps: vec![facts::backup_record(now)],
            audit: vec![audit_line(&call, "backup.taken", &shown, None, detail)],
            ..Administer::default()
        };
        call.edge.store.administer(write).await?;
        facts::backed_up(now);
        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        Ok(Answer::json(&json!({
            "path": path, "record": manifest.record, "chainHead": format!("{}:{}", manifest.record, manifest.chain_head),
            "files": manifest.files.len(), "bytes": bytes,
        })))
    })
}

/// `POST /api/v1/verify`.
pub fn verify(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let report = verify::verify(&**call.whole_store()?, &call.edge.settings.domain).await?;
        facts::verified(report.mismatches, call.edge.now());
        let shown = serde_json::to_value(&report).map_err(|error| {
            tracing::error!(%error, "a verification cannot be written");
            Problem::new(Code::Internal, "the report cannot be written")
        })?;
        Ok(Answer::json(&shown))
    })
}
