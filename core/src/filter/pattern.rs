//! `$regex`: JavaScript's syntax, run by an engine whose time is linear in the text.
//!
//! A pattern is rewritten into the syntax of the `regex` crate. What the two spell alike but mean otherwise is
//! spelled out (`.`, `\s`, `\d`, `[[`); what a linear engine cannot do, or what JavaScript and a MongoDB server
//! read differently, is refused by name.

use regex_syntax::hir::{Hir, HirKind, Look};

/// Longest pattern of a `$regex`, in bytes.
pub const MAX_PATTERN_BYTES: usize = 8 << 10;
/// Time per byte of text grows with the program in the worst case, so it is kept small.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
const MAX_CACHE_BYTES: usize = 1 << 20;
const MAX_GROUPS: usize = 200;
const SPACE: &str =
    r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";
const NO_LINE_END: &str = r"[^\n\r\u{2028}\u{2029}]";

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: regex::Regex,
    prefix: Vec<u8>,
}

impl Pattern {
    /// Compiles `source` under `options`, letters of `imsxu`. The error is a sentence for people.
    pub(super) fn new(source: &str, options: &str) -> Result<Self, String> {
        if source.len() > MAX_PATTERN_BYTES {
            return Err(format!(
                "the pattern has {} bytes; at most {MAX_PATTERN_BYTES} are allowed",
                source.len()
            ));
        }
        let flags = Flags::parse(options)?;
        let rewritten = Rewriter::new(source, flags).run()?;
        let regex = regex::RegexBuilder::new(&rewritten)
            .case_insensitive(flags.i)
            .multi_line(flags.m)
            .size_limit(MAX_PROGRAM_BYTES)
            .dfa_size_limit(MAX_CACHE_BYTES)
            .build()
            .map_err(|error| refusal(&error))?;
        let parser = regex_syntax::ParserBuilder::new().case_insensitive(flags.i).multi_line(flags.m).build();
        let prefix = { parser }.parse(&rewritten).map(|hir| anchored_prefix(&hir)).unwrap_or_default();
        Ok(Pattern { regex, prefix })
    }

    /// Whether it matches somewhere in `text`, in time linear in its length.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Bytes with which every match begins; empty if it is not anchored.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }
}

fn refusal(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            "the pattern is too large once its repetitions are counted out: use smaller counts".into()
        }
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
            format!("the pattern is not valid: {last}")
        }
    }
}

fn anchored_prefix(hir: &Hir) -> Vec<u8> {
    let HirKind::Concat(parts) = hir.kind() else { return Vec::new() };
    match parts.as_slice() {
        [start, literal, ..] => match (start.kind(), literal.kind()) {
            (HirKind::Look(Look::Start), HirKind::Literal(literal)) => literal.0.to_vec(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    i: bool,
    m: bool,
    s: bool,
    x: bool,
}

impl Flags {
    fn parse(options: &str) -> Result<Self, String> {
        let mut flags = Flags::default();
        for letter in options.chars() {
            // "u" asks for what is always so: matching by code point.
            if letter != 'u' && !flags.set(letter, true) {
                return Err(format!("option {letter:?} is not known: use letters of \"imsx\""));
            }
        }
        Ok(flags)
    }

    fn set(&mut self, letter: char, on: bool) -> bool {
        match letter {
            'i' => self.i = on,
            'm' => self.m = on,
            's' => self.s = on,
            'x' => self.x = on,
            _ => return false,
        }
        true
    }
}

enum Atom {
    Char(char),
    Set(String),
}

struct Rewriter<'a> {
    rest: &'a str,
    flags: Flags,
    open: Vec<Flags>,
    out: String,
    /// Whether a quantifier may come next.
    repeatable: bool,
}

impl<'a> Rewriter<'a> {
    fn new(source: &'a str, flags: Flags) -> Self {
        Rewriter { rest: source, flags, open: Vec::new(), out: String::new(), repeatable: false }
    }

    fn run(mut self) -> Result<String, String> {
        while let Some(c) = self.next() {
            self.token(c)?;
        }
        if self.open.is_empty() {
            Ok(self.out)
        } else {
            Err("a group is not closed: \")\" is missing".into())
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self, c: char) -> Result<(), String> {
        let repeatable = std::mem::replace(&mut self.repeatable, true);
        match c {
            '\\' if self.eat("b") => self.assertion(r"(?-u:\b)"),
            '\\' if self.eat("B") => self.assertion(r"(?-u:\B)"),
            '\\' => match self.escape()? {
                Atom::Char(c) => self.literal(c),
                Atom::Set(set) => self.out.push_str(&format!("[{set}]")),
            },
            '[' => self.class()?,
            '.' if self.flags.s => self.out.push_str("(?s:.)"),
            '.' => self.out.push_str(NO_LINE_END),
            '^' | '$' | '|' => self.assertion(c.encode_utf8(&mut [0; 4])),
            '(' => {
                self.repeatable = false;
                self.group()?;
            }
            ')' => {
                self.flags =
                    self.open.pop().ok_or("\")\" closes no group: write \"\\\\)\" for a literal one")?;
                self.out.push(')');
            }
            '*' | '+' | '?' => self.quantifier(c.to_string(), repeatable)?,
            '{' => match self.counts() {
                Some(counts) => self.quantifier(counts, repeatable)?,
                None => self.literal('{'),
            },
            '#' if self.flags.x => {
                self.repeatable = repeatable;
                while self.next().is_some_and(|c| c != '\n') {}
            }
            c if self.flags.x && c.is_whitespace() => self.repeatable = repeatable,
            c => self.literal(c),
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
    }

    fn quantifier(&mut self, quantifier: String, repeatable: bool) -> Result<(), String> {
        if !repeatable {
            return Err(format!("nothing to repeat before \"{quantifier}\""));
        }
        self.out.push_str(&quantifier);
        if self.eat("?") {
            self.out.push('?');
        } else if self.rest.starts_with('+') {
            return Err("possessive quantifiers are not supported".into());
        }
        self.repeatable = false;
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}` after its brace; anything else is a literal brace.
    fn counts(&mut self) -> Option<String> {
        let (inside, rest) = self.rest.split_once('}')?;
        let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if low.is_empty() || !digits(low) || !digits(high) {
            return None;
        }
        self.rest = rest;
        Some(format!("{{{inside}}}"))
    }

    fn assertion(&mut self, text: &str) {
        self.repeatable = false;
        self.out.push_str(text);
    }

    fn group(&mut self) -> Result<(), String> {
        if self.open.len() == MAX_GROUPS {
            return Err(format!("groups are nested more than {MAX_GROUPS} deep"));
        }
        if !self.eat("?") || self.eat(":") {
            self.enter("(?:", self.flags);
            return Ok(());
        }
        if ["=", "!", "<=", "<!"].iter().any(|look| self.eat(look)) {
            return Err(
                "lookahead and lookbehind are not supported, because they cannot be matched in linear \
                        time: combine several $regex with $and and $not"
                    .into(),
            );
        }
        if self.eat("<") || self.eat("P<") {
            let (name, rest) = self.rest.split_once('>').ok_or("a group name is not closed")?;
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                return Err(format!("{name:?} is not a group name"));
            }
            self.rest = rest;
            self.enter("(?:", self.flags);
            return Ok(());
        }
        self.inline_flags()
    }

    fn enter(&mut self, opening: &str, inner: Flags) {
        self.open.push(self.flags);
        self.flags = inner;
        self.out.push_str(opening);
    }

    /// `(?i)` for the rest of the group, or `(?i-s:` for a group of its own.
    fn inline_flags(&mut self) -> Result<(), String> {
        let mut inner = self.flags;
        let (mut on, mut passed) = (true, [String::new(), String::new()]);
        loop {
            match self.next() {
                Some('-') if on => on = false,
                Some(c) if inner.set(c, on) => {
                    // The engine knows these two by the same letters; the others were spelled out.
                    if matches!(c, 'i' | 'm') {
                        passed[usize::from(!on)].push(c);
                    }
                }
                Some(end @ (':' | ')')) => {
                    let [plus, minus] = passed;
                    let dash = if minus.is_empty() { "" } else { "-" };
                    let opening = format!("(?{plus}{dash}{minus}");
                    if end == ':' {
                        self.enter(&format!("{opening}:"), inner);
                    } else {
                        self.flags = inner;
                        if opening.len() > 2 {
                            self.out.push_str(&opening);
                            self.out.push(')');
                        }
                    }
                    return Ok(());
                }
                Some(c) => return Err(format!("groups that begin with \"(?{c}\" are not supported")),
                None => return Err("a group is not closed: \")\" is missing".into()),
            }
        }
    }

    /// What follows a backslash, outside of `\b` and `\B`.
    fn escape(&mut self) -> Result<Atom, String> {
        let Some(c) = self.next() else {
            return Err("the pattern ends in a single backslash".into());
        };
        let set = |text: &str| Ok(Atom::Set(text.into()));
        match c {
            'd' => set("0-9"),
            'D' => set("[^0-9]"),
            'w' => set("0-9A-Za-z_"),
            'W' => set("[^0-9A-Za-z_]"),
            's' => set(SPACE),
            'S' => Ok(Atom::Set(format!("[^{SPACE}]"))),
            't' => Ok(Atom::Char('\t')),
            'n' => Ok(Atom::Char('\n')),
            'r' => Ok(Atom::Char('\r')),
            'f' => Ok(Atom::Char('\x0C')),
            'v' => Ok(Atom::Char('\x0B')),
            '0' if !self.rest.starts_with(|c: char| c.is_ascii_digit()) => Ok(Atom::Char('\0')),
            '0'..='9' | 'k' => Err(format!(
                "\\{c} is a backreference or an octal escape; neither is supported (a backreference cannot be \
                 matched in linear time)"
            )),
            'p' | 'P' => Err(format!("Unicode properties (\\{c}) are not supported: list the characters")),
            'x' => self.hex(2).map(Atom::Char),
            'u' => self.unit(),
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => Ok(Atom::Char((letter as u8 & 0x1f) as char)),
                _ => Err("\\c must be followed by a letter".into()),
            },
            c if c.is_ascii_alphanumeric() => Err(format!(
                "the escape \\{c} is not supported: write \"{c}\" without a backslash if it is meant"
            )),
            c => Ok(Atom::Char(c)),
        }
    }

    fn hex(&mut self, digits: usize) -> Result<char, String> {
        let wanted = || {
            format!(
                "\\{} must be followed by {digits} hexadecimal digits",
                if digits == 2 { 'x' } else { 'u' }
            )
        };
        let code = if self.eat("{") {
            let (inside, rest) = self.rest.split_once('}').ok_or_else(wanted)?;
            self.rest = rest;
            inside
        } else {
            let (inside, rest) = self.rest.split_at_checked(digits).ok_or_else(wanted)?;
            self.rest = rest;
            inside
        };
        if code.is_empty() || code.len() > 8 || !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wanted());
        }
        let code = u32::from_str_radix(code, 16).map_err(|_| wanted())?;
        char::from_u32(code).ok_or_else(|| format!("U+{code:04X} is not a character on its own"))
    }

    fn unit(&mut self) -> Result<Atom, String> {
        let at = self.rest;
        let unit = |text: &str| {
            let digits = text.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u32::from_str_radix(digits, 16).ok()
        };
        if let Some(high @ 0xd800..=0xdbff) = unit(at)
            && let Some(low @ 0xdc00..=0xdfff) = at[4..].strip_prefix("\\u").and_then(unit)
        {
            self.rest = &at[10..];
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return char::from_u32(code)
                .map(Atom::Char)
                .ok_or_else(|| "a surrogate pair is not a character".into());
        }
        self.hex(4).map(Atom::Char)
    }

    fn class(&mut self) -> Result<(), String> {
        let negated = self.eat("^");
        if self.eat("]") {
            self.out.push_str(if negated { "(?s:.)" } else { "[a&&b]" });
            return Ok(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while !self.eat("]") {
            if self.rest.starts_with("[:") && self.rest.contains(":]") {
                return Err("classes such as [:alpha:] are not supported: write a-zA-Z".into());
            }
            let low = self.class_atom()?;
            let ranged = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            match low {
                Atom::Set(set) => self.out.push_str(&set),
                Atom::Char(low) if ranged => {
                    self.eat("-");
                    match self.class_atom()? {
                        Atom::Char(high) if low <= high => self.members(low, high),
                        Atom::Char(high) => {
                            return Err(format!("the range {low}-{high} in a class is out of order"));
                        }
                        Atom::Set(set) => {
                            self.members(low, low);
                            self.members('-', '-');
                            self.out.push_str(&set);
                        }
                    }
                }
                Atom::Char(c) => self.members(c, c),
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn members(&mut self, low: char, high: char) {
        self.out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }

    fn class_atom(&mut self) -> Result<Atom, String> {
        match self.next() {
            None => Err("a class is not closed: \"]\" is missing".into()),
            Some('\\') if self.eat("b") => Ok(Atom::Char('\x08')),
            Some('\\') => self.escape(),
            Some(c) => Ok(Atom::Char(c)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, options: &str, yes: &[&str], no: &[&str]) {
        let pattern = Pattern::new(source, options).unwrap();
        for text in yes {
            assert!(pattern.is_match(text), "/{source}/{options} on {text:?}");
        }
        for text in no {
            assert!(!pattern.is_match(text), "/{source}/{options} on {text:?}");
        }
    }

    #[test]
    fn javascript_syntax() {
        check("^a.c$", "", &["abc", "a\u{1F600}c"], &["a\nc", "a\rc", "a\u{2028}c", "xabc", "abc\n"]);
        check("a.c", "s", &["a\nc"], &["ac"]);
        check("^b", "m", &["a\nb"], &["ab"]);
        check("^b", "", &["ba"], &["a\nb"]);
        check("CAF\u{C9}", "i", &["un caf\u{E9}"], &["cafe"]);
        check(" a b # words\n c", "x", &["abc"], &["a b c"]);
        check(r"[ #]\ \#", "x", &["# #", "  #"], &["#"]);
        check(r"^\d\w\s\D\W\S$", "", &["1_ a!b"], &["\u{0661}a a!b"]);
        check(r"^\s$", "", &["\u{FEFF}", "\u{A0}", "\u{2003}", "\t"], &["\u{85}", "a"]);
        check(r"\bfoo\b", "", &["a foo b"], &["afoo", "foo1"]);
        check(r"\Boo", "", &["foo"], &["oo"]);
        check("^[]a]?", "", &[], &["a]", "a", ""]);
        check("^[^]$", "", &["\n", "x"], &["", "xx"]);
        check("^[a-c&&b-]$", "", &["a", "&", "b", "-"], &["d"]);
        check("^[[a]$", "", &["[", "a"], &["b"]);
        check(r"^[\d-x]$", "", &["-", "x", "7"], &["a"]);
        check(r"^[\b]$", "", &["\u{8}"], &["b"]);
        check(r"^\x41\u0042\u{43}\cJ\/\-\<\0$", "", &["ABC\n/-<\0"], &["ABC"]);
        check(r"^\uD83D\uDE00$", "", &["\u{1F600}"], &["x"]);
        check("^a{,2}{$", "", &["a{,2}{"], &["aa"]);
        check("^a{2}b{1,}c{0,1}?$", "", &["aab", "aabbc"], &["ab"]);
        check("^(?<year>[0-9]{4})-(?:a|b)$", "", &["1979-b"], &["1979-"]);
        check("a(?i)b(?-i)c", "", &["aBc"], &["ABc", "aBC"]);
        check("(?s:a.b).", "", &["a\nbc"], &["a\nb\n"]);
        check("((?i)a)b", "", &["Ab"], &["AB"]);
        check("", "", &["", "x"], &[]);
        check("a|", "u", &["", "x"], &[]);
    }

    #[test]
    fn refusals_say_why() {
        for (source, options, why) in [
            ("(?=a)", "", "lookahead"),
            ("(?<!a)b", "", "lookbehind"),
            (r"(a)\1", "", "backreference"),
            (r"\k<a>", "", "backreference"),
            ("(?>a)", "", "(?>"),
            (r"\p{L}", "", "Unicode properties"),
            (r"\Aa", "", r"\A"),
            ("a++", "", "possessive"),
            ("a**", "", "nothing to repeat"),
            ("*a", "", "nothing to repeat"),
            ("(a", "", "not closed"),
            ("a)", "", "closes no group"),
            ("[a", "", "not closed"),
            ("[z-a]", "", "out of order"),
            ("[[:alpha:]]", "", "[:alpha:]"),
            ("a{5,2}", "", "not valid"),
            ("\\", "", "backslash"),
            (r"\xZZ", "", "hexadecimal"),
            (r"\u12", "", "hexadecimal"),
            (r"\uD800", "", "U+D800"),
            (r"\x\u{e9}", "", "hexadecimal"),
            ("((a{1000}){1000}){1000}", "", "too large"),
            ("a", "g", "option 'g'"),
        ] {
            let message = Pattern::new(source, options).unwrap_err();
            assert!(message.contains(why), "/{source}/: {message}");
        }
        assert!(Pattern::new(&"(".repeat(5000), "").unwrap_err().contains("nested"));
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1), "").unwrap_err().contains("8192"));
    }

    #[test]
    fn prefixes() {
        for (source, options, prefix) in [
            ("^abc", "", "abc"),
            ("^abc*", "", "ab"),
            ("^ab.*x", "", "ab"),
            ("^a|b", "", ""),
            ("abc", "", ""),
            ("^abc", "m", ""),
            ("^abc", "i", ""),
            ("^(a|b)c", "", ""),
        ] {
            let pattern = Pattern::new(source, options).unwrap();
            assert_eq!(pattern.prefix(), prefix.as_bytes(), "/{source}/{options}");
        }
    }
}
