//! What of payloads goes into the index, and when: with every write of a payload, in the same commit.

use super::Index;
use crate::filter;
use crate::filter::terms::{self, PathRules, Term, extract};
use crate::kv::{Batch, Kv, Range, Space, postings};
use crate::{Error, Result, Slot};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RULES: &[u8] = b"indexes";
/// Rows of one batch of a rebuild; also the rows that share index keys, so that each key is written once.
const RUN: usize = postings::SPAN as usize;

/// The terms of a payload text.
pub(crate) fn terms_of(text: &str, rules: &PathRules) -> Result<Vec<Term>> {
    let document: Value = serde_json::from_slice(text.as_bytes())
        .map_err(|error| Error::corrupt(format!("a stored payload is not JSON: {error}")))?;
    Ok(extract(&document, rules))
}

/// Index changes, gathered per key.
#[derive(Default)]
pub(crate) struct Entries(BTreeMap<Vec<u8>, Vec<u8>>);

impl Entries {
    /// Adds the payload of a new row.
    pub(crate) fn add(&mut self, slot: Slot, text: &str, rules: &PathRules) -> Result<()> {
        for term in terms_of(text, rules)? {
            self.put(slot, &term, false);
        }
        Ok(())
    }

    /// Replaces the payload of a row.
    pub(crate) fn replace(
        &mut self,
        slot: Slot,
        old: Option<&str>,
        new: Option<&str>,
        rules: &PathRules,
    ) -> Result<()> {
        let of = |text: Option<&str>| -> Result<BTreeSet<Term>> {
            Ok(text.map_or(Ok(Vec::new()), |text| terms_of(text, rules))?.into_iter().collect())
        };
        let (old, new) = (of(old)?, of(new)?);
        old.difference(&new).for_each(|term| self.put(slot, term, true));
        new.difference(&old).for_each(|term| self.put(slot, term, false));
        Ok(())
    }

    fn put(&mut self, slot: Slot, term: &Term, remove: bool) {
        let operand = self.0.entry(postings::key(&term.storage_key(), slot)).or_default();
        postings::put(operand, slot, remove);
    }

    /// As changes to what is there.
    pub(crate) fn merge_into(self, batch: &mut Batch) {
        self.0.into_iter().for_each(|(key, operand)| batch.merge(Space::Postings, key, operand));
    }

    /// As the first entries under their keys.
    pub(crate) fn put_into(self, batch: &mut Batch) -> Result<()> {
        for (key, operand) in self.0 {
            if let Some(value) = postings::fold(None, &[&operand])? {
                batch.put(Space::Postings, key, value);
            }
        }
        Ok(())
    }
}

/// What is stored of the rules: the rules, and whether the index is complete under them.
pub(crate) fn read_rules(kv: &dyn Kv) -> Result<Option<(PathRules, bool)>> {
    let mut found = None;
    kv.view()?.get(Space::Meta, RULES, &mut |value| found = Some(decode_rules(value)))?;
    found.transpose()
}

fn decode_rules(value: &[u8]) -> Result<(PathRules, bool)> {
    let damaged = || Error::corrupt("the stored choice of indexed paths is damaged");
    let json: Value = serde_json::from_slice(value).map_err(|_| damaged())?;
    let list = |name: &str| -> Result<Vec<String>> {
        let paths = json.get(name).and_then(Value::as_array).ok_or_else(damaged)?;
        paths.iter().map(|path| path.as_str().map(str::to_string).ok_or_else(damaged)).collect()
    };
    let complete = json.get("complete").and_then(Value::as_bool).ok_or_else(damaged)?;
    Ok((PathRules { include: list("include")?, exclude: list("exclude")? }, complete))
}

fn put_rules(batch: &mut Batch, rules: &PathRules, complete: bool) {
    let json = serde_json::json!({"include": rules.include, "exclude": rules.exclude, "complete": complete});
    batch.put(Space::Meta, RULES, filter::json(&json));
}

/// Rules under which nothing is indexed.
fn no_paths() -> PathRules {
    PathRules { include: vec![".".repeat(terms::MAX_PATH_BYTES + 1)], exclude: Vec::new() }
}

/// The rules to go on with: `asked`, else those stored. Where the index was made by others, or not to the end, it is
/// made again, unless the database is only read: then what is there and complete is used.
pub(crate) fn settle_rules(kv: &dyn Kv, asked: Option<&PathRules>, read_only: bool) -> Result<PathRules> {
    let stored = read_rules(kv)?;
    let (rules, complete) = stored.clone().unwrap_or((PathRules::default(), true));
    let wanted = asked.cloned().unwrap_or_else(|| rules.clone());
    if complete && wanted == rules {
        return Ok(rules);
    }
    if read_only {
        return Ok(if complete { rules } else { no_paths() });
    }
    rebuild(kv, &wanted)?;
    Ok(wanted)
}

/// Makes the whole index anew from the stored payloads. Cut short, it is marked so and made again at the next open.
pub(crate) fn rebuild(kv: &dyn Kv, rules: &PathRules) -> Result<()> {
    let mut batch = Batch::default();
    put_rules(&mut batch, rules, false);
    batch.delete_range(Space::Postings, Range::all());
    kv.sync(kv.apply(&batch)?)?;
    let mut from = 0u64;
    while from < 1 << 32 {
        let start = (from as u32).to_be_bytes();
        let next = from + RUN as u64;
        let range = match u32::try_from(next) {
            Ok(end) => Range::between(start, end.to_be_bytes()),
            Err(_) => Range::from(start),
        };
        let mut entries = Entries::default();
        let mut failed = Ok(());
        kv.view()?.scan(Space::Payloads, &range, &mut |key, value| {
            let text =
                std::str::from_utf8(value).map_err(|_| Error::corrupt("a stored payload is not UTF-8"));
            failed = crate::kv::slot_of(key).and_then(|slot| entries.add(slot, text?, rules));
            if failed.is_ok() { crate::kv::Flow::Continue(()) } else { crate::kv::Flow::Break(()) }
        })?;
        failed?;
        let mut batch = Batch::default();
        entries.put_into(&mut batch)?;
        kv.apply(&batch)?;
        from = match next_payload(kv, next)? {
            Some(slot) => u64::from(slot) & !(RUN as u64 - 1),
            None => break,
        };
    }
    let mut batch = Batch::default();
    put_rules(&mut batch, rules, true);
    kv.sync(kv.apply(&batch)?).map(drop)
}

/// The first slot from `from` on that has a payload.
fn next_payload(kv: &dyn Kv, from: u64) -> Result<Option<Slot>> {
    let Ok(from) = u32::try_from(from) else { return Ok(None) };
    let mut found = None;
    kv.view()?.scan(Space::Payloads, &Range::from(from.to_be_bytes()), &mut |key, _| {
        found = Some(crate::kv::slot_of(key));
        crate::kv::Flow::Break(())
    })?;
    found.transpose()
}

impl Index {
    /// Which payload paths are indexed.
    pub fn indexes(&self) -> &PathRules {
        &self.rules
    }
}
