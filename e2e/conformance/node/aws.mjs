// The AWS SDK for JavaScript v3 with its default chain.
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";

import { loop } from "./steps.mjs";

const client = new S3Client({});

async function get(Bucket, Key) {
  const object = await client.send(new GetObjectCommand({ Bucket, Key }));
  await object.Body.transformToString();
}

loop(
  { name: "fetch", run: async () => (await new S3Client({}).config.credentials()).accessKeyId },
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
