import { openGcsBucket } from '../../src/buckets/gcs.ts';
import { startGcsServer } from '../support/gcs-server.ts';
import { bucketConformance } from './conformance.ts';

bucketConformance('gcs', async () => {
  const server = await startGcsServer();
  const open = async (bucket: string) =>
    await openGcsBucket({
      bucket,
      prefix: 'backups/vault',
      endpoint: server.url,
      label: `gs://${bucket}/backups/vault`,
    });
  return {
    bucket: await open('bucket'),
    reopen: async () => await open('bucket'),
    openMissing: async () => await open('absent'),
    cleanUp: async () => {
      await server.close();
    },
  };
});
