//! From JSON text to a [`Filter`], with errors that name the operator and its place.

use super::compare::{Arrays, ValueSet, canonical};
use super::names;
use super::number::Decimal;
use super::path::Path;
use super::pattern::Pattern;
use super::tree::{Bound, Elements, Expr, Item, Op, Types};
use crate::{Code, Error, Result};
use serde_json::Value;

/// Longest filter, in bytes of JSON text.
pub const MAX_FILTER_BYTES: usize = 1 << 20;
/// Most objects and arrays inside one another in a filter; one `$and` takes two.
pub const MAX_FILTER_DEPTH: usize = 100;
/// Most conditions in a filter: every operator and every bare value is one.
pub const MAX_CONDITIONS: usize = 16_384;
/// Most values in all lists of a filter (`$in`, `$nin`, `$all`, `$contains_any`, `$contains_all`).
pub const MAX_LIST_VALUES: usize = 100_000;
/// Most `$regex` conditions in a filter.
pub const MAX_REGEXES: usize = 100;

pub(super) fn parse(text: &str) -> Result<Expr> {
    if text.len() > MAX_FILTER_BYTES {
        return Err(syntax(format!(
            "the filter has {} bytes of JSON; at most {MAX_FILTER_BYTES} are allowed",
            text.len()
        )));
    }
    if depth(text) > MAX_FILTER_DEPTH {
        return Err(syntax(format!(
            "the filter is nested more than {MAX_FILTER_DEPTH} objects and arrays deep"
        )));
    }
    // All JSON is read from bytes: a second reader would be two of them in a browser's download.
    let value: Value = serde_json::from_slice(text.as_bytes())
        .map_err(|error| syntax(format!("the filter is not JSON: {error}")).with_source(error))?;
    Parser::default().query(&value)
}

fn syntax(message: impl Into<String>) -> Error {
    Error::new(Code::FilterSyntax, message)
}

/// Deepest nesting of brackets outside strings, found without recursion.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    most
}

enum Step<'a> {
    Key(&'a str),
    At(usize),
}

#[derive(Default)]
struct Parser<'a> {
    place: Vec<Step<'a>>,
    conditions: usize,
    list_values: usize,
    regexes: usize,
}

impl<'a> Parser<'a> {
    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let mut place = String::new();
        for step in &self.place {
            match step {
                Step::Key(key) if place.is_empty() => place = names::shorten(key),
                Step::Key(key) => {
                    place.push('.');
                    place.push_str(&names::shorten(key));
                }
                Step::At(at) => place.push_str(&format!("[{at}]")),
            }
        }
        if place.is_empty() {
            return Err(syntax(message.to_string()));
        }
        Err(syntax(format!("at {place}: {message}")))
    }

    fn within<T>(&mut self, step: Step<'a>, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.place.push(step);
        let parsed = parse(self)?;
        self.place.pop();
        Ok(parsed)
    }

    fn count_condition(&mut self) -> Result<()> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return self.error(format!(
                "the filter has more than {MAX_CONDITIONS} conditions; use $in for long lists"
            ));
        }
        Ok(())
    }

    fn query(&mut self, value: &'a Value) -> Result<Expr> {
        let Value::Object(map) = value else {
            return self.error(format!(
                "a filter must be an object such as {{\"year\": 1979}}, not {}",
                kind(value)
            ));
        };
        let mut all = Vec::with_capacity(map.len());
        for (key, value) in map {
            all.push(self.within(Step::Key(key), |parser| parser.entry(key, value))?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Expr::And(all) })
    }

    fn entry(&mut self, key: &'a str, value: &'a Value) -> Result<Expr> {
        match key {
            "$and" => Ok(Expr::And(self.queries(key, value)?)),
            "$or" => Ok(Expr::Or(self.queries(key, value)?)),
            "$nor" => Ok(Expr::Nor(self.queries(key, value)?)),
            _ if key.starts_with('$') => {
                let hint = "it belongs under a field, as in {\"price\": {\"$gt\": 5}}";
                self.error(names::unknown(key, &names::LOGICAL, &names::FIELD, hint))
            }
            _ => {
                let (ops, path) = (self.ops(value)?, Path::new(key));
                Ok(Expr::Field(path, ops))
            }
        }
    }

    fn queries(&mut self, name: &str, value: &'a Value) -> Result<Vec<Expr>> {
        self.count_condition()?;
        let Value::Array(items) = value else {
            return self.error(format!("{name} takes an array of filters, not {}", kind(value)));
        };
        let parse = |(at, item)| self.within(Step::At(at), |parser| parser.query(item));
        items.iter().enumerate().map(parse).collect()
    }

    /// The conditions of one field: an object of operators, or a bare value.
    fn ops(&mut self, value: &'a Value) -> Result<Vec<Op>> {
        let Value::Object(map) = value else {
            self.count_condition()?;
            return Ok(vec![Op::Eq(value.clone())]);
        };
        if !map.keys().any(|key| key.starts_with('$')) {
            self.count_condition()?;
            return Ok(vec![Op::Eq(value.clone())]);
        }
        let mut ops = Vec::with_capacity(map.len());
        for (name, operand) in map {
            if let Some(op) = self.within(Step::Key(name), |parser| parser.op(name, operand, map))? {
                ops.push(op);
            }
        }
        Ok(ops)
    }

    fn op(
        &mut self,
        name: &'a str,
        operand: &'a Value,
        beside: &'a serde_json::Map<String, Value>,
    ) -> Result<Option<Op>> {
        self.count_condition()?;
        Ok(Some(match name {
            "$eq" => Op::Eq(operand.clone()),
            "$ne" => Op::Ne(operand.clone()),
            "$gt" => Op::Range(Bound::Gt, canonical(operand, Arrays::Sorted)),
            "$gte" => Op::Range(Bound::Gte, canonical(operand, Arrays::Sorted)),
            "$lt" => Op::Range(Bound::Lt, canonical(operand, Arrays::Sorted)),
            "$lte" => Op::Range(Bound::Lte, canonical(operand, Arrays::Sorted)),
            "$in" => Op::In(self.set(name, operand)?),
            "$nin" => Op::Nin(self.set(name, operand)?),
            "$contains_any" => Op::ContainsAny(self.set(name, operand)?),
            "$contains_all" => Op::ContainsAll(self.set(name, operand)?),
            "$exists" => match operand {
                Value::Bool(wanted) => Op::Exists(*wanted),
                Value::Number(number) => Op::Exists(Decimal::new(number).to_i64() != Some(0)),
                _ => return self.error(format!("$exists takes true or false, not {}", kind(operand))),
            },
            "$not" => Op::Not(self.ops(operand)?),
            "$all" => self.all(operand)?,
            "$elemMatch" => Op::ElemMatch(self.elements(operand)?),
            "$size" => Op::Size(self.size(operand)?),
            "$type" => Op::Type(self.types(operand)?),
            "$regex" => Op::Regex(self.regex(operand, beside.get("$options"))?),
            "$options" if beside.contains_key("$regex") => return Ok(None),
            "$options" => return self.error("$options belongs beside a $regex; there is none here"),
            _ if !name.starts_with('$') => {
                let near = names::nearest(name, &names::FIELD);
                let near = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                return self.error(format!(
                    "operators and plain keys cannot be mixed: {} is no operator{near}",
                    names::shorten(name)
                ));
            }
            _ => {
                let hint = "it takes whole filters, so write it around the field, as in \
                            {\"$or\": [{\"a\": 1}, {\"a\": 2}]}";
                return self.error(names::unknown(name, &names::FIELD, &names::LOGICAL, hint));
            }
        }))
    }

    fn list(&mut self, name: &str, operand: &'a Value) -> Result<&'a [Value]> {
        let Value::Array(items) = operand else {
            return self.error(format!("{name} takes an array of values, not {}", kind(operand)));
        };
        self.list_values = self.list_values.saturating_add(items.len());
        if self.list_values > MAX_LIST_VALUES {
            return self.error(format!("the lists of the filter hold more than {MAX_LIST_VALUES} values"));
        }
        Ok(items)
    }

    fn set(&mut self, name: &str, operand: &'a Value) -> Result<ValueSet> {
        let items = self.list(name, operand)?;
        for (at, item) in items.iter().enumerate() {
            self.plain(name, at, item)?;
        }
        Ok(ValueSet::new(items))
    }

    fn plain(&mut self, name: &str, at: usize, item: &'a Value) -> Result<()> {
        let Some(key) = operator_key(item) else { return Ok(()) };
        self.within(Step::At(at), |parser| {
            parser.error(format!("{name} takes plain values; {} is no part of one", names::shorten(key)))
        })
    }

    fn all(&mut self, operand: &'a Value) -> Result<Op> {
        let mut items = Vec::new();
        for (at, value) in self.list("$all", operand)?.iter().enumerate() {
            items.push(match value {
                Value::Object(map) if map.len() == 1 && map.contains_key("$elemMatch") => {
                    self.count_condition()?;
                    let parse = |parser: &mut Self| parser.elements(&map["$elemMatch"]);
                    Item::Match(self.within(Step::At(at), |p| p.within(Step::Key("$elemMatch"), parse))?)
                }
                plain => {
                    self.plain("$all", at, plain)?;
                    Item::Value(plain.clone())
                }
            });
        }
        Ok(Op::All(items))
    }

    fn elements(&mut self, operand: &'a Value) -> Result<Elements> {
        let Value::Object(map) = operand else {
            return self.error(format!("$elemMatch takes an object of conditions, not {}", kind(operand)));
        };
        if map.is_empty() {
            return Ok(Elements::AnyObject);
        }
        let of_value = |key: &String| key.starts_with('$') && !names::LOGICAL.contains(&key.as_str());
        if map.keys().all(of_value) {
            return Ok(Elements::Ops(self.ops(operand)?));
        }
        Ok(Elements::Query(Box::new(self.query(operand)?)))
    }

    fn size(&self, operand: &Value) -> Result<Option<usize>> {
        let size = match operand {
            Value::Number(number) => Decimal::new(number),
            _ => return self.error(format!("$size takes a number of elements, not {}", kind(operand))),
        };
        if !size.is_integer() || size.to_i64().is_some_and(|size| size < 0) {
            return self.error(format!("$size takes a whole number from 0, not {}", super::json(operand)));
        }
        Ok(size.to_i64().and_then(|size| usize::try_from(size).ok()))
    }

    fn types(&mut self, operand: &'a Value) -> Result<Types> {
        let names = match operand {
            Value::Array(names) if names.is_empty() => return self.error("$type needs at least one type"),
            Value::Array(names) => names.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut types = Types::default();
        for name in names {
            let known = match name {
                Value::String(name) => types.add_name(name),
                Value::Number(number) => {
                    Decimal::new(number).to_i64().is_some_and(|code| types.add_code(code))
                }
                _ => false,
            };
            if !known {
                return self.error(format!(
                    "{} is not a type; types are {}",
                    names::shorten(&super::json(name)),
                    Types::NAMES.join(" ")
                ));
            }
        }
        Ok(types)
    }

    fn regex(&mut self, operand: &Value, options: Option<&Value>) -> Result<Pattern> {
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            return self.error(format!("the filter has more than {MAX_REGEXES} $regex conditions"));
        }
        let Value::String(source) = operand else {
            return self.error(format!("$regex takes a pattern as a string, not {}", kind(operand)));
        };
        let options = match options {
            None => "",
            Some(Value::String(options)) => options,
            Some(other) => {
                return self.error(format!("$options takes a string of letters, not {}", kind(other)));
            }
        };
        Pattern::new(source, options).or_else(|message| self.error(message))
    }
}

fn operator_key(value: &Value) -> Option<&str> {
    let Value::Object(map) = value else { return None };
    map.keys().find(|key| key.starts_with('$')).map(String::as_str)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
