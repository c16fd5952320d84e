//! [`Fields`]: a JSON object that is read strictly. Every key is taken once, and what is left is an error.

use serde_json::{Map, Value};

/// The keys of an object that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    what: String,
    map: Map<String, Value>,
}

/// Keys that tell people about a case and change nothing.
const REMARKS: [&str; 5] = ["name", "note", "source", "status", "erratum"];

impl Fields {
    pub(crate) fn new(what: impl Into<String>, value: Value) -> Result<Self, String> {
        let what = what.into();
        match value {
            Value::Object(map) => Ok(Self { what, map }),
            other => Err(format!("{what} is no object but {other}")),
        }
    }

    /// Takes the remarks away and puts corrections in force: the key `<k>_correct` overrides `<k>`, field
    /// by field where both are objects.
    pub(crate) fn correct(&mut self) {
        for remark in REMARKS {
            self.map.remove(remark);
        }
        let keys: Vec<String> = self.map.keys().filter(|key| key.ends_with("_correct")).cloned().collect();
        for key in keys {
            let (Some(correct), Some(base)) = (self.map.remove(&key), key.strip_suffix("_correct")) else {
                continue;
            };
            match (self.map.get_mut(base), correct) {
                (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
                (_, correct) => {
                    self.map.insert(base.to_owned(), correct);
                }
            }
        }
    }

    /// Fails if a key was never taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.map.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = self.map.keys().map(String::as_str).collect();
        Err(format!("unknown key in {}: {}", self.what, keys.join(", ")))
    }

    pub(crate) fn value(&mut self, key: &str) -> Result<Value, String> {
        self.map.remove(key).ok_or_else(|| format!("{} has no `{key}`", self.what))
    }

    /// Returns `None` for a key that is absent or null.
    pub(crate) fn optional(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn number(&mut self, key: &str) -> Result<u64, String> {
        let value = self.value(key)?;
        number(key, &value)
    }

    pub(crate) fn optional_number(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.optional(key).map(|value| number(key, &value)).transpose()
    }

    pub(crate) fn optional_flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        let flag = |value: Value| value.as_bool().ok_or_else(|| format!("`{key}` is neither true nor false"));
        self.optional(key).map(flag).transpose()
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, String> {
        self.optional_flag(key)?.ok_or_else(|| format!("{} has no `{key}`", self.what))
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<String, String> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            other => Err(format!("`{key}` is no text but {other}")),
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Self, String> {
        Self::new(format!("`{key}`"), self.value(key)?)
    }

    /// A list of numbers; null is an empty one.
    pub(crate) fn numbers(&mut self, key: &str) -> Result<Vec<u64>, String> {
        items(key, self.value(key)?)?.iter().map(|item| number(key, item)).collect()
    }

    /// A list of pairs of numbers; null is an empty one.
    pub(crate) fn pairs(&mut self, key: &str) -> Result<Vec<(u64, u64)>, String> {
        pairs(key, self.value(key)?)
    }

    pub(crate) fn pair(&mut self, key: &str) -> Result<(u64, u64), String> {
        let value = self.value(key)?;
        pair(key, &value)
    }
}

pub(crate) fn items(key: &str, value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        other => Err(format!("`{key}` is no list but {other}")),
    }
}

pub(crate) fn pairs(key: &str, value: Value) -> Result<Vec<(u64, u64)>, String> {
    items(key, value)?.iter().map(|item| pair(key, item)).collect()
}

fn pair(key: &str, value: &Value) -> Result<(u64, u64), String> {
    match value.as_array().map(Vec::as_slice) {
        Some([first, second]) => Ok((number(key, first)?, number(key, second)?)),
        _ => Err(format!("`{key}` holds {value}, which is no pair")),
    }
}

pub(crate) fn number(key: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("`{key}` holds {value}, which is no number from 0 to 2^64 - 1"))
}
