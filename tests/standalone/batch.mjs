// Runs the stand-alone verifier of the path given over many files; answers with a line of JSON for each.
// Standard input: a JSON list of `[keys, witnesses, quorum, file in base64]`. A line: `[exit code, facts or null]`.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { checkFile, factsToJson, Failed, CannotCheck } = await import(pathToFileURL(process.argv[2]));

for (const [vkeys, witnesses, quorum, encoded] of JSON.parse(readFileSync(0, "utf8"))) {
  let [code, facts] = [0, null];
  try {
    facts = await checkFile(new Uint8Array(Buffer.from(encoded, "base64")), { vkeys, witnesses, quorum });
  } catch (error) {
    if (!(error instanceof Failed || error instanceof CannotCheck)) throw error;
    code = error instanceof Failed ? 20 : 21;
  }
  process.stdout.write(`[${code}, ${facts === null ? "null" : factsToJson(facts).replaceAll("\n", " ")}]\n`);
}
