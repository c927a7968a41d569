// @azure/identity with its default chain.
import { createHash } from "node:crypto";

import { DefaultAzureCredential } from "@azure/identity";

import { loop } from "./steps.mjs";

const GRANTED = "https://storage.azure.com/.default";
const OTHER = "https://vault.azure.net/.default";
const credential = new DefaultAzureCredential();

const keyOf = (token) => createHash("sha256").update(token).digest("hex").slice(0, 12);

loop(
  { name: "fetch", run: async () => keyOf((await new DefaultAzureCredential().getToken(GRANTED)).token) },
  {
    name: "use",
    run: async () => {
      const { token } = await credential.getToken(GRANTED);
      const response = await fetch(`${process.env.SERVICES}/blobs/q3`, { headers: { authorization: `Bearer ${token}` } });
      if (!response.ok) throw new Error(`${response.status}`);
      return keyOf(token);
    },
  },
  { name: "denied", run: () => credential.getToken(OTHER), refusal: (error) => error.name.endsWith("AuthenticationError") },
);
