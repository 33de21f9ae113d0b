import type { Kind } from '../kind.ts';
import { parseGcsUrl, type GcsLocation } from './url.ts';

/** `gs://name/prefix?endpoint=&credentials=send` and more options, see `parseGcsUrl`. */
export const gcs: Kind<GcsLocation> = {
  scheme: 'gs',
  example: 'gs://name/folder',
  locate: parseGcsUrl,
  async open(location, { clock, environment }) {
    const { openGcsBucket } = await import('./driver.ts');
    return openGcsBucket({ ...location, label: location.url, clock, environment });
  },
};
