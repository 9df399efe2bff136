//! What happens to open databases when their Node environment (process, worker, renderer) ends.

use crate::handle::Handle;
use napi::Env;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Handles by environment address. One hook per environment: hooks cannot be taken back for free.
static OPEN: Mutex<Option<HashMap<usize, Vec<Weak<Handle>>>>> = Mutex::new(None);

/// Has `handle` stopped when `env` ends.
pub(crate) fn watch(env: &Env, handle: &Arc<Handle>) -> napi::Result<()> {
    let key = env.raw() as usize;
    let first = {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        let first = !open.contains_key(&key);
        let handles = open.entry(key).or_default();
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(Arc::downgrade(handle));
        first
    };
    if first {
        env.add_env_cleanup_hook(key, stop_all)?;
    }
    Ok(())
}

fn stop_all(key: usize) {
    let handles = {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_mut().and_then(|open| open.remove(&key)).unwrap_or_default()
    };
    for handle in handles.iter().filter_map(Weak::upgrade) {
        handle.stop();
    }
}
