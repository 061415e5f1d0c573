//! Sending trees to a machine: only the blobs that it lacks, from the snapshot store or a checkpoint.

use fleet_agent_api::{Want, encode_blob};
use fleet_storage::{LocalCheckpoints, RelayStore, SnapshotStore};
use fleet_types::JobId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Bytes of a blob in one frame.
const PIECE: usize = 256 << 10;

/// Where blobs come from.
#[derive(Clone)]
pub(super) enum BlobSource {
    Snapshot(Arc<SnapshotStore>),
    Checkpoint(Arc<LocalCheckpoints>, JobId),
}

/// Streams the wanted blobs as frames. `sizes` tells each blob's size.
pub(super) async fn send_blobs(
    source: BlobSource,
    wanted: Vec<Want>,
    sizes: HashMap<String, u64>,
    out: mpsc::Sender<bytes::Bytes>,
) -> Result<(), String> {
    for want in wanted {
        let digest: [u8; 32] = hex::decode(&want.sha256)
            .ok()
            .and_then(|d| d.try_into().ok())
            .ok_or_else(|| "the agent wants a blob of no valid name".to_owned())?;
        let size = *sizes
            .get(&want.sha256)
            .ok_or_else(|| "the agent wants a blob that the tree does not have".to_owned())?;
        let mut reader = open(&source, &want.sha256).await?;
        skip(&mut reader, want.from).await?;
        let mut offset = want.from;
        if size == 0 {
            send(&out, encode_blob(&digest, 0, 0, &[])).await?;
        }
        let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE).max(1))];
        while offset < size {
            let n = reader.read(&mut buffer).await.map_err(|e| e.to_string())?;
            if n == 0 {
                return Err(format!("blob {} is shorter here than its tree says", want.sha256));
            }
            send(&out, encode_blob(&digest, offset, size, &buffer[..n])).await?;
            offset += n as u64;
        }
    }
    Ok(())
}

async fn send(out: &mpsc::Sender<bytes::Bytes>, frame: bytes::Bytes) -> Result<(), String> {
    out.send(frame).await.map_err(|_| "the connection is gone".to_owned())
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;

async fn open(source: &BlobSource, sha256: &str) -> Result<Reader, String> {
    match source {
        BlobSource::Snapshot(store) => {
            let path = store.blob_path(sha256);
            let file = tokio::fs::File::open(path).await;
            Ok(Box::new(file.map_err(|e| format!("blob {sha256} of the snapshot: {e}"))?))
        }
        BlobSource::Checkpoint(store, job) => {
            store.open(job, sha256).await.map_err(|e| e.to_string())
        }
    }
}

async fn skip(reader: &mut Reader, bytes: u64) -> Result<(), String> {
    let mut head = reader.take(bytes);
    tokio::io::copy(&mut head, &mut tokio::io::sink()).await.map_err(|e| e.to_string())?;
    Ok(())
}
