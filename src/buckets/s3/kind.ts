import type { Kind } from '../kind.ts';
import { parseS3Url, type S3Location } from './url.ts';

/** `s3://name/prefix?region=&endpoint=&credentials=send&profile=` and more options, see `parseS3Url`. */
export const s3: Kind<S3Location> = {
  scheme: 's3',
  example: 's3://name/folder',
  locate: parseS3Url,
  async open(location, { clock }) {
    const { openS3Bucket } = await import('./driver.ts');
    return openS3Bucket({ ...location, label: location.url, clock });
  },
};
