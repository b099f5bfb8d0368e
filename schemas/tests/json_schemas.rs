//! The JSON Schemas under `json/` are generated from the types and kept equal to them.
//! `UPDATE_SCHEMAS=1 cargo test --release -p schemas` rewrites them.

use std::path::Path;

#[test]
fn checked_in_json_schemas_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("json");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (stem, schema) in schemas::json_schemas() {
        let path = dir.join(format!("{stem}.schema.json"));
        let want = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if update {
            std::fs::write(&path, &want).unwrap();
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(have, want, "{} is stale: run UPDATE_SCHEMAS=1 cargo test --release -p schemas", path.display());
    }
}
