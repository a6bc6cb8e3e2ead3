#!/usr/bin/env node
// The Solidity compiler as py-solc-x, Ape and Slither call it, on top of the official WebAssembly
// build in the npm package `solc`. That package's own command line prints a line about SMT solvers
// before the JSON, which breaks every parser downstream.
//
//   solc.mjs --version
//   solc.mjs --standard-json [--base-path DIR] [--include-path DIR]... [--allow-paths DIR,...] < input
//
// Imports are read below the base path, the include paths and the allowed paths, and nowhere else.

import { readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { isAbsolute, resolve, sep } from "node:path";

const OPTIONS_WITH_VALUE = ["--base-path", "--include-path", "--allow-paths"];

function parse(argv) {
  const flags = new Set();
  const values = { "--base-path": [], "--include-path": [], "--allow-paths": [] };
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = argv[i].split(/=(.*)/s, 2);
    if (OPTIONS_WITH_VALUE.includes(name)) values[name].push(inline ?? argv[++i] ?? "");
    else flags.add(argv[i]);
  }
  return { flags, values };
}

/** A solc import callback that reads files below the given roots only. */
function reader(basePath, includePaths, allowPaths) {
  const searched = [basePath, ...includePaths];
  const allowed = [...searched, ...allowPaths].flatMap(realpathIfAny);
  return (name) => {
    const candidates = isAbsolute(name) ? [name] : searched.map((root) => resolve(root, name));
    for (const file of candidates.flatMap(realpathIfAny)) {
      if (!allowed.some((root) => file === root || file.startsWith(root + sep))) {
        return { error: `${name}: outside of the allowed directories` };
      }
      return { contents: readFileSync(file, "utf8") };
    }
    return { error: `${name}: file not found below ${searched.join(", ")}` };
  };
}

function realpathIfAny(path) {
  try {
    return [realpathSync(path)];
  } catch {
    return [];
  }
}

function main() {
  const { flags, values } = parse(process.argv.slice(2));
  const solc = createRequire(import.meta.url)("solc");
  if (flags.has("--version")) {
    process.stdout.write(`solc, the solidity compiler\nVersion: ${solc.version()}\n`);
  } else if (flags.has("--standard-json")) {
    const read = reader(
      resolve(values["--base-path"].at(-1) ?? "."),
      values["--include-path"].map((path) => resolve(path)),
      values["--allow-paths"].flatMap((list) => list.split(",")).map((path) => resolve(path)),
    );
    const output = solc.compile(readFileSync(0, "utf8"), { import: read });
    process.stdout.write(output + "\n");
  } else {
    process.stderr.write("solc.mjs: only --version and --standard-json are supported\n");
    process.exitCode = 2;
  }
}

main();
