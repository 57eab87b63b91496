//! The audit of a watch: every 10 to 20 minutes, the hash of uid and version of every object of a kind is compared with what the
//! engine holds. An object that differs twice, with time between for the watch to catch up, was lost silently by the watch:
//! the kind is listed anew. One fold over all objects was not enough: in a busy cluster it always differs.

use futures::StreamExt;
use holdfast_agent_core::posture::Versions;
use holdfast_controls::Kind;

use super::split::Items;
use super::{decode, path};
use crate::api::{Api, Refusal};

/// Only metadata travels: a tenth of the bytes of a list.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=1";

/// The versions that the API server holds now.
pub(super) async fn versions(api: &Api, kind: &'static Kind) -> Result<Versions, Refusal> {
    let mut versions = Versions::default();
    let mut next: Option<String> = None;
    loop {
        let mut body = api.open(&path::page(kind, path::PAGE, next.as_deref()), METADATA_ONLY).await?;
        let mut items = Items::default();
        while let Some(bytes) = body.next().await {
            let mut unreadable = None;
            items.feed(&bytes?, |item| match decode::identity(item) {
                Ok(identity) => versions.add(&identity.uid, &identity.resource_version),
                Err(refusal) => unreadable = Some(refusal),
            })?;
            if let Some(refusal) = unreadable {
                return Err(refusal);
            }
        }
        next = items.finish()?.next().map(str::to_owned);
        if next.is_none() {
            return Ok(versions);
        }
    }
}
