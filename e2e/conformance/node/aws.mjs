// The AWS SDK for JavaScript v3 with its default chain.
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { fromHttp } from "@aws-sdk/credential-provider-http";

import { loop } from "./steps.mjs";

const client = new S3Client({});

async function get(Bucket, Key) {
  const object = await client.send(new GetObjectCommand({ Bucket, Key }));
  await object.Body.transformToString();
}

/** The chain's last word tells nothing of what each provider said; a provider that is named does. */
async function fetch() {
  try {
    return (await new S3Client({}).config.credentials()).accessKeyId;
  } catch (error) {
    const said = await fromHttp({})().then(() => undefined, (own) => own);
    throw new Error(`${error.message}; fromHttp: ${said?.Code} ${said?.Message}`, { cause: error });
  }
}

loop(
  { name: "fetch", run: fetch },
  {
    name: "use",
    run: async () => {
      const key = (await client.config.credentials()).accessKeyId;
      await get("reports", "q3.txt");
      return key;
    },
  },
  { name: "denied", run: () => get("payroll", "salaries.txt"), refusal: (error) => error.name === "AccessDenied" },
);
