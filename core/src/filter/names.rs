//! The names of operators, and what to say of one that is none.

/// Operators over whole filters.
pub(super) const LOGICAL: [&str; 3] = ["$and", "$or", "$nor"];
/// Operators of a field.
pub(super) const FIELD: [&str; 18] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$not",
    "$all",
    "$elemMatch",
    "$size",
    "$type",
    "$regex",
    "$options",
    "$contains_any",
    "$contains_all",
];
/// MongoDB's other query operators: their users should not be told that they misspelled something.
const FOREIGN: [&str; 27] = [
    "$expr",
    "$where",
    "$text",
    "$mod",
    "$jsonSchema",
    "$comment",
    "$near",
    "$nearSphere",
    "$geoWithin",
    "$geoIntersects",
    "$geometry",
    "$box",
    "$center",
    "$centerSphere",
    "$polygon",
    "$bitsAllSet",
    "$bitsAllClear",
    "$bitsAnySet",
    "$bitsAnyClear",
    "$rand",
    "$meta",
    "$slice",
    "$sampleRate",
    "$maxDistance",
    "$minDistance",
    "$search",
    "$vectorSearch",
];

/// Why `name` is no operator here, where those of `known` are.
pub(super) fn unknown(name: &str, known: &[&'static str], elsewhere: &[&'static str], hint: &str) -> String {
    let shown = shorten(name);
    if elsewhere.contains(&name) {
        return format!("{shown} does not belong here: {hint}");
    }
    if FOREIGN.contains(&name) {
        return format!("{shown} is not supported; operators here are {}", known.join(" "));
    }
    match nearest(name, known).or_else(|| nearest(name, elsewhere)) {
        Some(near) => format!("{shown} is not an operator: did you mean {near}?"),
        None => format!("{shown} is not an operator; operators here are {}", known.join(" ")),
    }
}

/// `name`, cut if a hostile caller made it long, with nothing in it that could confuse a terminal.
pub(super) fn shorten(name: &str) -> String {
    const LONGEST: usize = 60;
    let mut text = String::new();
    for c in name.chars().take(LONGEST) {
        // Whether a character can be printed is in tables that browsers would have to download.
        match c {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                text.extend(c.escape_unicode());
            }
            c if c.is_control() || "\"'\\".contains(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    if name.chars().nth(LONGEST).is_some() {
        text.push_str("...");
    }
    text
}

/// The name of `known` that `name` most likely was meant to be.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if name.len() > 20 {
        return None;
    }
    let plain = |text: &str| -> Vec<char> {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(name);
    let scored = known.iter().map(|known| (distance(&wanted, &plain(known)), *known));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    // A name of three letters with two of them wrong is another name.
    let allowed = if wanted.len() < 4 { 1 } else { 2 };
    (distance <= allowed).then_some(best)
}

/// Edits between two words: insert, delete, replace, or swap of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        for (name, near) in [
            ("$gtee", Some("$gte")),
            ("gte", Some("$gte")),
            ("$GTE", Some("$gte")),
            ("$elemmatch", Some("$elemMatch")),
            ("$elem_match", Some("$elemMatch")),
            ("$containsAny", Some("$contains_any")),
            ("$exsits", Some("$exists")),
            ("$regexp", Some("$regex")),
            ("$foobar", None),
            ("$zz", None),
        ] {
            assert_eq!(nearest(name, &FIELD), near, "{name}");
        }
    }
}
