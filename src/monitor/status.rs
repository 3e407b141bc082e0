//! The state of this node as JSON.

use super::health;
use super::history::Sample;
use crate::command::{Cache, MEMCACHED_VERSION};
use serde_json::{Map, Value, json};

/// Everything the page shows of one node, and a script may want.
pub(super) fn report(cache: &Cache, stopping: bool) -> Vec<u8> {
    let verdict = |verdict: Result<String, String>| match verdict {
        Ok(state) => json!({"ok": true, "reason": state}),
        Err(reason) => json!({"ok": false, "reason": reason}),
    };
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "memcached_version": MEMCACHED_VERSION,
        "pid": std::process::id(),
        "uptime": cache.clock.uptime(),
        "healthz": verdict(health::pair(cache, stopping)),
        "readyz": verdict(health::node(cache, stopping)),
        "now": Sample::take(cache),
        "max_connections": cache.settings.max_connections,
        "replication": replication(cache),
    });
    report.to_string().into_bytes()
}

/// What `stats replication` says, with numbers as numbers.
fn replication(cache: &Cache) -> Value {
    let Some(status) = &cache.replication else {
        return json!({"state": "disabled"});
    };
    let fields = status.report(&cache.store, cache.clock.now()).fields();
    let typed = |text: String| match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text),
    };
    let fields = fields.into_iter().map(|(name, value)| (String::from(name), typed(value)));
    Value::Object(Map::from_iter(fields))
}
