import type { Kind } from '../kind.ts';
import { openFolderBucket } from './driver.ts';
import { parseFileUrl, parseFolderPath } from './url.ts';
import type { FolderLocation } from './url.ts';

/** `file:///path`, or the path alone. */
export const folder: Kind<FolderLocation> = {
  scheme: 'file',
  example: 'file:///path',
  locate: (text, base) => (/^file:\/\//i.test(text) ? parseFileUrl(text) : parseFolderPath(text, base)),
  async open({ path, url }, { clock, fileThreads }) {
    return openFolderBucket(path, { label: url, clock, fileThreads });
  },
};
