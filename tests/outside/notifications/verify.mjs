// Verifies what drive.py recorded with the npm package: lines of {secret, headers, body, genuine} in the file named.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

let verified = 0, refused = 0, wrong = 0;
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const { secret, headers, body, genuine } = JSON.parse(line);
  let fits = true;
  try { new Webhook(secret).verify(body, headers); } catch { fits = false; }
  if (fits !== genuine) { wrong += 1; console.error(`WRONG: ${headers["webhook-id"]} fits=${fits}`); }
  else if (fits) verified += 1; else refused += 1;
}
console.log(`npm: verified=${verified} refused=${refused} wrong=${wrong}`);
process.exit(wrong ? 1 : 0);
