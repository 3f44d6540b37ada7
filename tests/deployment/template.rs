//! Parses a CloudFormation template and resolves it for given parameters.
//!
//! Supports only the intrinsic functions and attributes that this project's template uses; any other
//! causes a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use regex_lite::Regex;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "us-east-1";
pub const STACK: &str = "pca-revocation-watch";

/// A template with short tags (`!Ref`) expanded to long form (`{"Ref": ...}`).
pub struct Template(pub Value);

/// The resources and outputs of a deployment with certain parameters.
pub struct Deployment {
    /// By logical id; only resources whose condition holds.
    pub resources: BTreeMap<String, Value>,
    pub outputs: BTreeMap<String, Value>,
}

/// The reason that parameters are rejected.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A value violates the constraint of the parameter with this name.
    Constraint(String),
    /// An assertion of the rule with this name fails.
    Rule(String),
}

impl Template {
    pub fn parse(text: &str) -> Self {
        let documents = Yaml::load_from_str(text).expect("the template is YAML");
        assert_eq!(documents.len(), 1, "the template is one document");
        Self(long_form(&documents[0]))
    }

    pub fn section(&self, name: &str) -> &Map<String, Value> {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        self.0
            .get(name)
            .and_then(Value::as_object)
            .unwrap_or(&EMPTY)
    }

    /// Returns the parameter values: the given ones, and defaults for the rest.
    pub fn parameters(&self, overrides: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut values: BTreeMap<String, String> = self
            .section("Parameters")
            .iter()
            .filter_map(|(name, parameter)| Some((name.clone(), text(parameter.get("Default")?))))
            .collect();
        for (name, value) in overrides {
            assert!(
                self.section("Parameters").contains_key(*name),
                "no parameter {name}"
            );
            values.insert((*name).to_owned(), (*value).to_owned());
        }
        values
    }

    /// Resolves conditions, resources and outputs.
    ///
    /// # Panics
    /// If a reference names nothing, or a resource that these parameters exclude.
    pub fn deploy(&self, overrides: &[(&str, &str)]) -> Result<Deployment, Refusal> {
        let parameters = self.parameters(overrides);
        self.check_constraints(&parameters)?;
        let resolver = Resolver {
            template: self,
            parameters: &parameters,
        };
        for (name, rule) in self.section("Rules") {
            let applies = rule.get("RuleCondition").is_none_or(|c| resolver.holds(c));
            let assertions = rule["Assertions"].as_array().expect("assertions");
            if applies && !assertions.iter().all(|a| resolver.holds(&a["Assert"])) {
                return Err(Refusal::Rule(name.clone()));
            }
        }
        let existing = |section: &str| -> BTreeMap<String, Value> {
            let parts = self.section(section).iter();
            parts
                .filter(|(_, part)| {
                    part.get("Condition")
                        .is_none_or(|c| resolver.condition(c.as_str().expect("a name")))
                })
                .map(|(id, part)| (id.clone(), resolver.without_condition(id, part)))
                .collect()
        };
        // Unused conditions are resolved too, so that their errors are found.
        for name in self.section("Conditions").keys() {
            resolver.condition(name);
        }
        Ok(Deployment {
            resources: existing("Resources"),
            outputs: existing("Outputs"),
        })
    }

    fn check_constraints(&self, parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
        for (name, parameter) in self.section("Parameters") {
            let value = parameters
                .get(name)
                .ok_or_else(|| Refusal::Constraint(name.clone()))?;
            let number = |key: &str| parameter.get(key).and_then(Value::as_f64);
            let fits = match parameter["Type"].as_str() {
                Some("String") => number("MaxLength").is_none_or(|max| value.len() as f64 <= max),
                Some("Number") => value.parse::<f64>().is_ok_and(|value| {
                    number("MinValue").is_none_or(|min| value >= min)
                        && number("MaxValue").is_none_or(|max| value <= max)
                }),
                other => panic!("{name}: unknown type {other:?}"),
            } && parameter.get("AllowedValues").is_none_or(|values| {
                values
                    .as_array()
                    .expect("a list")
                    .iter()
                    .any(|v| text(v) == *value)
            }) && parameter.get("AllowedPattern").is_none_or(|pattern| {
                let pattern = pattern.as_str().expect("a pattern");
                // CloudFormation matches the whole value.
                Regex::new(&format!("^(?:{pattern})$"))
                    .expect(name)
                    .is_match(value)
            });
            if !fits {
                return Err(Refusal::Constraint(name.clone()));
            }
        }
        Ok(())
    }
}

/// Returns the value as text, the form in which CloudFormation passes it on.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => panic!("{other} is not a scalar"),
    }
}

/// Returns the items of a list, or a single value as a list of one, as in IAM policies.
pub fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

fn long_form(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(values) => values.iter().map(long_form).collect(),
        Yaml::Mapping(entries) => entries
            .iter()
            .map(|(key, value)| (text(&long_form(key)), long_form(value)))
            .collect::<Map<_, _>>()
            .into(),
        Yaml::Tagged(tag, value) => {
            let value = long_form(value);
            match tag.suffix.as_str() {
                name @ ("Ref" | "Condition") => json!({ name: value }),
                "GetAtt" => {
                    let (id, attribute) = value
                        .as_str()
                        .and_then(|v| v.split_once('.'))
                        .expect("!GetAtt Resource.Attribute");
                    json!({ "Fn::GetAtt": [id, attribute] })
                }
                name => json!({ format!("Fn::{name}"): value }),
            }
        }
        other => panic!("{other:?} is not plain YAML"),
    }
}

struct Resolver<'a> {
    template: &'a Template,
    parameters: &'a BTreeMap<String, String>,
}

impl Resolver<'_> {
    fn condition(&self, name: &str) -> bool {
        let conditions = self.template.section("Conditions");
        self.holds(
            conditions
                .get(name)
                .unwrap_or_else(|| panic!("no condition {name}")),
        )
    }

    fn holds(&self, expression: &Value) -> bool {
        let (function, argument) = only_entry(expression).expect("a condition is one function");
        let all = || argument.as_array().expect("a list");
        match function {
            "Condition" => self.condition(argument.as_str().expect("a name")),
            "Fn::Equals" => match &all()[..] {
                [left, right] => text(&self.value(left)) == text(&self.value(right)),
                _ => panic!("Fn::Equals takes two values"),
            },
            "Fn::Not" => !self.holds(&all()[0]),
            "Fn::And" => all().iter().all(|part| self.holds(part)),
            "Fn::Or" => all().iter().any(|part| self.holds(part)),
            other => panic!("unknown condition function {other}"),
        }
    }

    fn without_condition(&self, id: &str, part: &Value) -> Value {
        let mut part = part
            .as_object()
            .unwrap_or_else(|| panic!("{id} is not a mapping"))
            .clone();
        part.remove("Condition");
        for name in part.remove("DependsOn").iter().flat_map(list) {
            self.existing(&name);
        }
        self.value(&Value::Object(part))
    }

    fn value(&self, value: &Value) -> Value {
        self.maybe(value)
            .expect("AWS::NoValue may only be used in a list or mapping")
    }

    /// Returns `None` for `AWS::NoValue`.
    fn maybe(&self, value: &Value) -> Option<Value> {
        if let Some((function, argument)) = only_entry(value)
            && (function == "Ref" || function.starts_with("Fn::"))
        {
            return self.function(function, argument);
        }
        Some(match value {
            Value::Array(values) => values.iter().filter_map(|v| self.maybe(v)).collect(),
            Value::Object(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), self.maybe(value)?)))
                .collect::<Map<_, _>>()
                .into(),
            plain => plain.clone(),
        })
    }

    fn function(&self, function: &str, argument: &Value) -> Option<Value> {
        let arguments = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        Some(match (function, arguments) {
            ("Ref", _) => return self.reference(argument.as_str().expect("a name")),
            ("Fn::GetAtt", [id, attribute]) => json!(self.attribute(&text(id), &text(attribute))),
            ("Fn::If", [condition, yes, no]) => {
                let chosen = if self.condition(condition.as_str().expect("a name")) {
                    yes
                } else {
                    no
                };
                return self.maybe(chosen);
            }
            ("Fn::FindInMap", [map, first, second]) => {
                let (first, second) = (text(&self.value(first)), text(&self.value(second)));
                let found = self.template.section("Mappings")[&text(map)].get(&first);
                let found = found.and_then(|keys| keys.get(&second));
                found
                    .unwrap_or_else(|| panic!("{map} has no entry {first}, {second}"))
                    .clone()
            }
            ("Fn::Join", [delimiter, values]) => {
                json!(list(&self.value(values)).join(delimiter.as_str().expect("a literal")))
            }
            ("Fn::Split", [delimiter, whole]) => {
                let delimiter = delimiter.as_str().expect("a literal");
                text(&self.value(whole))
                    .split(delimiter)
                    .map(Value::from)
                    .collect()
            }
            ("Fn::Select", [index, values]) => {
                let values = self.value(values);
                let index = index.as_u64().expect("an index") as usize;
                values
                    .get(index)
                    .unwrap_or_else(|| panic!("{values} has no item {index}"))
                    .clone()
            }
            ("Fn::Sub", [pattern, names]) => {
                json!(self.substitute(
                    pattern.as_str().expect("text"),
                    names.as_object().expect("a mapping")
                ))
            }
            ("Fn::Sub", []) => {
                json!(self.substitute(argument.as_str().expect("text"), &Map::new()))
            }
            _ => panic!("unknown function {function} with {argument}"),
        })
    }

    fn substitute(&self, pattern: &str, names: &Map<String, Value>) -> String {
        let mut used = BTreeSet::new();
        let mut whole = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').expect("${ is closed by }");
            let value = match names.get(name) {
                Some(value) => {
                    used.insert(name);
                    self.value(value)
                }
                None => match name.split_once('.') {
                    Some((id, attribute)) => json!(self.attribute(id, attribute)),
                    None => self.reference(name).expect("a value"),
                },
            };
            write!(whole, "{before}{}", text(&value)).expect("writing to a string does not fail");
            rest = after;
        }
        for name in names.keys() {
            assert!(
                used.contains(name.as_str()),
                "{name} is not used in {pattern}"
            );
        }
        whole + rest
    }

    fn reference(&self, name: &str) -> Option<Value> {
        Some(match name {
            "AWS::NoValue" => return None,
            "AWS::AccountId" => json!(ACCOUNT),
            "AWS::Partition" => json!("aws"),
            "AWS::Region" => json!(REGION),
            "AWS::StackName" => json!(STACK),
            "AWS::URLSuffix" => json!("amazonaws.com"),
            parameter if self.parameters.contains_key(parameter) => {
                json!(self.parameters[parameter])
            }
            id => json!(self.existing(id)),
        })
    }

    /// Returns the value of `Ref` for a resource.
    fn existing(&self, id: &str) -> String {
        let kind = self.kind(id);
        match kind {
            "AWS::SNS::Topic" => format!("arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-{id}"),
            "AWS::SQS::Queue" => {
                let name = self.queue_name(id);
                format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
            }
            "AWS::S3::Bucket" => format!("{STACK}-{}", id.to_lowercase()),
            _ => format!("{STACK}-{id}"),
        }
    }

    fn attribute(&self, id: &str, attribute: &str) -> String {
        let name = format!("{STACK}-{id}");
        match (self.kind(id), attribute) {
            ("AWS::S3::Bucket", "Arn") => format!("arn:aws:s3:::{}", self.existing(id)),
            ("AWS::SNS::Topic", "TopicName") => name,
            ("AWS::SQS::Queue", "QueueName") => self.queue_name(id),
            ("AWS::SQS::Queue", "Arn") => {
                format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", self.queue_name(id))
            }
            ("AWS::IAM::Role", "Arn") => format!("arn:aws:iam::{ACCOUNT}:role/{name}"),
            ("AWS::Serverless::Function", "Arn") => {
                format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
            }
            ("AWS::Logs::LogGroup", "Arn") => {
                format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*")
            }
            ("AWS::Events::Rule", "Arn") => {
                format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}")
            }
            ("AWS::CloudWatch::Alarm", "Arn") => {
                format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}")
            }
            (kind, _) => panic!("{kind} {id} has no attribute {attribute}"),
        }
    }

    fn queue_name(&self, id: &str) -> String {
        let properties = &self.template.section("Resources")[id]["Properties"];
        match properties.get("QueueName") {
            Some(name) => text(&self.value(name)),
            None => format!("{STACK}-{id}"),
        }
    }

    /// Returns the type of a resource that these parameters create.
    fn kind(&self, id: &str) -> &str {
        let resource = self.template.section("Resources").get(id);
        let resource =
            resource.unwrap_or_else(|| panic!("{id} is neither a parameter nor a resource"));
        let condition = resource.get("Condition").and_then(Value::as_str);
        assert!(
            condition.is_none_or(|name| self.condition(name)),
            "{id} is referenced but excluded by {:?}",
            self.parameters
        );
        resource["Type"].as_str().expect("a type")
    }
}

fn only_entry(value: &Value) -> Option<(&str, &Value)> {
    let entries = value.as_object().filter(|entries| entries.len() == 1)?;
    entries
        .iter()
        .next()
        .map(|(key, value)| (key.as_str(), value))
}
