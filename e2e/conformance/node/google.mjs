// google-auth-library with application default credentials.
import { createHash } from "node:crypto";

import { GoogleAuth } from "google-auth-library";

import { loop } from "./steps.mjs";

const SCOPES = "https://www.googleapis.com/auth/cloud-platform";
const auth = new GoogleAuth({ scopes: SCOPES });
const client = await auth.getClient();

const keyOf = (token) => createHash("sha256").update(token).digest("hex").slice(0, 12);
const get = (bucket, object) =>
  client.request({ url: `${process.env.STORAGE}/storage/v1/b/${bucket}/o/${encodeURIComponent(object)}?alt=media`, responseType: "text" });

loop(
  { name: "fetch", run: async () => keyOf(await new GoogleAuth({ scopes: SCOPES }).getAccessToken()) },
  {
    name: "use",
    run: async () => {
      await get("reports", "2026/q3.txt");
      return keyOf((await client.getAccessToken()).token);
    },
  },
  { name: "denied", run: () => get("payroll", "salaries.txt"), refusal: (error) => error.status === 403 },
);
