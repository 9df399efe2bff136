//! `$regex`: JavaScript's syntax, run by an engine whose time is linear in the text.
//!
//! A pattern becomes an expression of `regex-syntax`, whose own parser is left out: it takes another syntax, and much
//! room in a browser's download. What a linear engine cannot do, or what JavaScript and a MongoDB server read
//! differently, is refused by name.

use super::fold::fold;
use super::linear::{self, Matcher};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition};

/// Longest pattern of a `$regex`, in bytes.
pub const MAX_PATTERN_BYTES: usize = 8 << 10;
const MAX_GROUPS: usize = 200;
/// Levels of an expression: building and compiling it recurse.
const MAX_DEPTH: usize = 250;

const DIGIT: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
const SPACE: &[(char, char)] = &[
    ('\t', '\r'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{feff}', '\u{feff}'),
];
const LINE_END: &[(char, char)] = &[('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')];

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    matcher: Matcher,
    prefix: Vec<u8>,
}

impl Pattern {
    /// Compiles `source` under `options`, letters of `imsxu`. The error is a sentence for people.
    pub(super) fn new(source: &str, options: &str) -> Result<Self, String> {
        let hir = expression(source, options)?;
        let matcher = Matcher::new(&hir).map_err(|error| match error {
            linear::Refused::TooLarge => {
                "the pattern is too large once its repetitions are counted out: use smaller counts".to_owned()
            }
            linear::Refused::Other(why) => format!("the pattern is not valid: {why}"),
        })?;
        Ok(Pattern { matcher, prefix: anchored_prefix(&hir) })
    }

    /// Whether it matches somewhere in `text`, in time linear in its length.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    /// Bytes with which every match begins; empty if it is not anchored.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }
}

/// What `source` says under `options`.
fn expression(source: &str, options: &str) -> Result<Hir, String> {
    if source.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern has {} bytes; at most {MAX_PATTERN_BYTES} are allowed",
            source.len()
        ));
    }
    Parser::new(source, Flags::parse(options)?).run()
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

fn ranges(of: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(of.iter().map(|&(low, high)| ClassUnicodeRange::new(low, high)))
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
                return Err(format!("option '{letter}' is not known: use letters of \"imsx\""));
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
    /// Its members, and whether it is what they leave out.
    Set(&'static [(char, char)], bool),
}

/// A group that is being read, or the whole pattern.
#[derive(Default)]
struct Group {
    /// The flags that hold again behind it.
    outer: Flags,
    branches: Vec<Hir>,
    parts: Vec<Hir>,
    /// Whether a branch has several parts.
    wide: bool,
    /// Levels of the deepest part, and of the last.
    depth: usize,
    last: usize,
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    open: Vec<Group>,
    group: Group,
    /// Whether a quantifier may come next.
    repeatable: bool,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str, flags: Flags) -> Self {
        Parser { rest: source, flags, open: Vec::new(), group: Group::default(), repeatable: false }
    }

    fn run(mut self) -> Result<Hir, String> {
        while let Some(c) = self.next() {
            self.token(c)?;
        }
        if self.open.is_empty() {
            Ok(self.group.whole())
        } else {
            Err("a group is not closed: \")\" is missing".into())
        }
    }

    fn push(&mut self, part: Hir, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("groups and repetitions are nested too deep".into());
        }
        self.group.parts.push(part);
        self.group.wide |= self.group.parts.len() > 1;
        self.group.last = depth;
        self.group.depth = self.group.depth.max(depth);
        Ok(())
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
            '\\' if self.eat("b") => self.assertion(Look::WordAscii),
            '\\' if self.eat("B") => self.assertion(Look::WordAsciiNegate),
            '\\' => match self.escape()? {
                Atom::Char(c) => self.literal(c),
                Atom::Set(set, negated) => self.set(ranges(set), negated),
            },
            '[' => self.class(),
            '.' if self.flags.s => self.push(Hir::dot(Dot::AnyChar), 1),
            '.' => self.set(ranges(LINE_END), true),
            '^' => self.assertion(if self.flags.m { Look::StartLF } else { Look::Start }),
            '$' => self.assertion(if self.flags.m { Look::EndLF } else { Look::End }),
            '|' => {
                self.repeatable = false;
                self.group.end_branch();
                Ok(())
            }
            '(' => {
                self.repeatable = false;
                self.group()
            }
            ')' => {
                let outer =
                    self.open.pop().ok_or("\")\" closes no group: write \"\\\\)\" for a literal one")?;
                let inner = std::mem::replace(&mut self.group, outer);
                self.flags = inner.outer;
                let depth = inner.levels();
                self.push(inner.whole(), depth)
            }
            '*' => self.quantifier("*", (0, None), repeatable),
            '+' => self.quantifier("+", (1, None), repeatable),
            '?' => self.quantifier("?", (0, Some(1)), repeatable),
            '{' => match self.counts() {
                Some(inside) => {
                    let counts = parsed(inside)?;
                    self.quantifier(&format!("{{{inside}}}"), counts, repeatable)
                }
                None => self.literal('{'),
            },
            '#' if self.flags.x => {
                self.repeatable = repeatable;
                while self.next().is_some_and(|c| c != '\n') {}
                Ok(())
            }
            c if self.flags.x && c.is_whitespace() => {
                self.repeatable = repeatable;
                Ok(())
            }
            c => self.literal(c),
        }
    }

    fn literal(&mut self, c: char) -> Result<(), String> {
        self.set(ranges(&[(c, c)]), false)
    }

    fn set(&mut self, set: ClassUnicode, negated: bool) -> Result<(), String> {
        let set = self.folded(set, negated);
        self.push(Hir::class(Class::Unicode(set)), 1)
    }

    /// Letters take in their other cases before the set is negated.
    fn folded(&self, mut set: ClassUnicode, negated: bool) -> ClassUnicode {
        if self.flags.i {
            fold(&mut set);
        }
        if negated {
            set.negate();
        }
        set
    }

    fn quantifier(
        &mut self,
        said: &str,
        (min, max): (u32, Option<u32>),
        repeatable: bool,
    ) -> Result<(), String> {
        let part = if repeatable { self.group.parts.pop() } else { None };
        let Some(sub) = part.map(Box::new) else {
            return Err(format!("nothing to repeat before \"{said}\""));
        };
        let greedy = !self.eat("?");
        if greedy && self.rest.starts_with('+') {
            return Err("possessive quantifiers are not supported".into());
        }
        self.repeatable = false;
        self.push(Hir::repetition(Repetition { min, max, greedy, sub }), self.group.last + 1)
    }

    /// `{n}`, `{n,}` or `{n,m}` after its brace; anything else is a literal brace.
    fn counts(&mut self) -> Option<&'a str> {
        let (inside, rest) = self.rest.split_once('}')?;
        let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if low.is_empty() || !digits(low) || !digits(high) {
            return None;
        }
        self.rest = rest;
        Some(inside)
    }

    fn assertion(&mut self, look: Look) -> Result<(), String> {
        self.repeatable = false;
        self.push(Hir::look(look), 1)
    }

    fn group(&mut self) -> Result<(), String> {
        if self.open.len() == MAX_GROUPS {
            return Err(format!("groups are nested more than {MAX_GROUPS} deep"));
        }
        if !self.eat("?") || self.eat(":") {
            self.enter(self.flags);
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
                return Err(format!("\"{name}\" is not a group name"));
            }
            self.rest = rest;
            self.enter(self.flags);
            return Ok(());
        }
        self.inline_flags()
    }

    fn enter(&mut self, inner: Flags) {
        let group = Group { outer: self.flags, ..Group::default() };
        self.open.push(std::mem::replace(&mut self.group, group));
        self.flags = inner;
    }

    /// `(?i)` for the rest of the group, or `(?i-s:` for a group of its own.
    fn inline_flags(&mut self) -> Result<(), String> {
        let mut inner = self.flags;
        let mut on = true;
        loop {
            match self.next() {
                Some('-') if on => on = false,
                Some(c) if inner.set(c, on) => {}
                Some(':') => {
                    self.enter(inner);
                    return Ok(());
                }
                Some(')') => {
                    self.flags = inner;
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
        match c {
            'd' => Ok(Atom::Set(DIGIT, false)),
            'D' => Ok(Atom::Set(DIGIT, true)),
            'w' => Ok(Atom::Set(WORD, false)),
            'W' => Ok(Atom::Set(WORD, true)),
            's' => Ok(Atom::Set(SPACE, false)),
            'S' => Ok(Atom::Set(SPACE, true)),
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
        let mut set = ClassUnicode::empty();
        while !self.eat("]") {
            if self.rest.starts_with("[:") && self.rest.contains(":]") {
                return Err("classes such as [:alpha:] are not supported: write a-zA-Z".into());
            }
            let low = self.class_atom()?;
            let ranged = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            match low {
                Atom::Set(members, left_out) => set.union(&self.folded(ranges(members), left_out)),
                Atom::Char(low) if ranged => {
                    self.eat("-");
                    match self.class_atom()? {
                        Atom::Char(high) if low <= high => set.push(ClassUnicodeRange::new(low, high)),
                        Atom::Char(high) => {
                            return Err(format!("the range {low}-{high} in a class is out of order"));
                        }
                        Atom::Set(members, left_out) => {
                            set.union(&ranges(&[(low, low), ('-', '-')]));
                            set.union(&self.folded(ranges(members), left_out));
                        }
                    }
                }
                Atom::Char(c) => set.push(ClassUnicodeRange::new(c, c)),
            }
        }
        self.set(set, negated)
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

impl Group {
    fn end_branch(&mut self) {
        // An empty part says nothing beside others.
        let mut parts = std::mem::take(&mut self.parts);
        parts.retain(|part| !matches!(part.kind(), HirKind::Empty));
        self.branches.push(Hir::concat(parts));
    }

    fn whole(mut self) -> Hir {
        self.end_branch();
        Hir::alternation(self.branches)
    }

    /// How deep it is as a part: itself, its branches, and the parts of each.
    fn levels(&self) -> usize {
        self.depth + 1 + usize::from(!self.branches.is_empty()) + usize::from(self.wide)
    }
}

/// The counts of `{n}`, `{n,}` or `{n,m}`.
fn parsed(inside: &str) -> Result<(u32, Option<u32>), String> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| format!("the pattern is not valid: {text} is too large a count"))
    };
    let (min, max) = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    if max.is_some_and(|max| max < min) {
        return Err(format!("the pattern is not valid: the counts of {{{inside}}} are out of order"));
    }
    Ok((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, options: &str, yes: &[&str], no: &[&str]) {
        let pattern = Pattern::new(source, options).unwrap();
        let simple = linear::simple::Matcher::new(&expression(source, options).unwrap()).unwrap();
        for (texts, wanted) in [(yes, true), (no, false)] {
            for text in texts {
                assert_eq!(pattern.is_match(text), wanted, "/{source}/{options} on {text:?}");
                assert_eq!(simple.is_match(text), wanted, "/{source}/{options} on {text:?}, in browsers");
            }
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
        check("^(?:a|b(?i)c|d)$", "", &["a", "bC", "D"], &["A", "Bc"]);
        check("^[^a-z]$", "i", &["1", "-"], &["a", "A", "\u{212A}"]);
        check(r"^[\W]$", "i", &["-"], &["k", "\u{212A}"]);
        check("^(?:)*(?:a{0}|b){2,3}$", "", &["", "b", "bbb"], &["bbbb", "a"]);
        check(r"\B", "", &["\u{e9}", ""], &["a"]);
        check("^(a*)*b", "", &["aaab"], &["aaa"]);
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
            ("a{4294967296}", "", "not valid"),
            ("a(*)", "", "nothing to repeat"),
            ("|*", "", "nothing to repeat"),
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
        let deep = |levels| format!("{}x{}", "(?:a|b".repeat(levels), ")*".repeat(levels));
        assert!(Pattern::new(&deep(199), "").unwrap_err().contains("nested"));
        assert!(Pattern::new(&deep(60), "").is_ok());
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
