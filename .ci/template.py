"""Reads templates, and resolves them for given parameters.

Importing this module also removes settings of AWS and proxies from the environment. Import it first: moto
reads them as soon as it is imported.
"""

import json
import os
import re

from samcli.yamlhelper import yaml_parse


# The environment as it was.
INHERITED = dict(os.environ)
for variable in INHERITED:
    if variable.startswith("AWS_") or variable.lower().endswith("_proxy"):
        del os.environ[variable]
os.environ["AWS_CONFIG_FILE"] = os.devnull


def parsed(text):
    """Returns a template as plain dictionaries, which compare without regard to the order of keys."""
    return json.loads(json.dumps(yaml_parse(text)))


# Stands for AWS::NoValue in what is resolved.
NO_VALUE = object()


class Resolver:
    """Resolves a template for given values, like CloudFormation, except for references to resources."""

    def __init__(self, template, values):
        self.template = template
        self.values = values

    def condition(self, node):
        ((function, argument),) = node.items()
        match function:
            case "Condition":
                return self.condition(self.template["Conditions"][argument])
            case "Fn::Equals":
                left, right = map(self.resolve, argument)
                return str(left) == str(right)
            case "Fn::Not":
                return not self.condition(argument[0])
            case "Fn::And":
                return all(map(self.condition, argument))
            case "Fn::Or":
                return any(map(self.condition, argument))
        raise ValueError(f"the resolver in .ci/template.py does not know {function}")

    def chosen(self, node):
        """Returns the branch of Fn::If that applies, or any other node as it is."""
        while isinstance(node, dict) and node.keys() == {"Fn::If"}:
            condition, *branches = node["Fn::If"]
            node = branches[0 if self.condition({"Condition": condition}) else 1]
        return node

    def resolve(self, node):
        node = self.chosen(node)
        if isinstance(node, list):
            return [item for item in map(self.resolve, node) if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            match function:
                case "Ref" if argument == "AWS::NoValue":
                    return NO_VALUE
                case "Ref":
                    return self.values.get(argument, node)
                case "Fn::GetAtt":
                    return {function: argument.split(".", 1) if isinstance(argument, str) else argument}
                case "Fn::FindInMap":
                    name, first, second = map(self.resolve, argument)
                    return self.template["Mappings"][name][str(first)][str(second)]
                case "Fn::Split":
                    return self.resolve(argument[1]).split(argument[0])
                case "Fn::Select":
                    return self.resolve(argument[1])[int(argument[0])]
                case "Fn::Join":
                    return argument[0].join(self.resolve(argument[1]))
                case "Fn::Sub":
                    return self.substitute(*([argument] if isinstance(argument, str) else argument))
                case function if function.startswith("Fn::"):
                    raise ValueError(f"the resolver in .ci/template.py does not know {function}")
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NO_VALUE}

    def substitute(self, text, own=None):
        own = {name: self.resolve(value) for name, value in (own or {}).items()}

        def replacement(match):
            name = match[1]
            value = own.get(name, self.values.get(name, {"Ref": name}))
            match value:
                case {"Ref": reference}:
                    return f"${{{reference}}}"
                case {"Fn::GetAtt": [resource, attribute]}:
                    return f"${{{resource}.{attribute}}}"
                case {"Fn::Sub": inner}:
                    return inner
            return str(value)

        text = re.sub(r"\$\{([^}]+)\}", replacement, text)
        return {"Fn::Sub": text} if "${" in text else text

    def deployed(self, section):
        """Returns the resources or outputs whose condition holds."""
        return {
            name: self.resolve({key: value for key, value in entry.items() if key != "Condition"})
            for name, entry in self.template[section].items()
            if "Condition" not in entry or self.condition({"Condition": entry["Condition"]})
        }
