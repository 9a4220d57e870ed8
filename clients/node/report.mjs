import { readFile } from 'node:fs/promises';
import { Client } from 'banshi-client';

const client = new Client('amqp://guest:guest@127.0.0.1:5672/%2f');
for (const path of process.argv.slice(2)) {
  const outcome = await client.sendAndWait(await readFile(path), { timeout: 300_000 });
  switch (outcome.outcome) {
    case 'completed':
      console.log(outcome.jobId, outcome.artifact.uri);
      break;
    case 'rejected':
      for (const it of outcome.problems) console.log(outcome.jobId, it.code, it.path, it.message_zh);
      break;
    case 'failed':
      console.log(outcome.jobId, outcome.code, outcome.message);
  }
}
await client.close();
