import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { chunksConformance } from './chunks-conformance.ts';
import { concurrencyConformance } from './concurrency.ts';
import { filesConformance } from './files-conformance.ts';
import { grantsConformance } from './grants-conformance.ts';
import { listsConformance } from './lists-conformance.ts';
import { modelConformance } from './model.ts';
import type { CatalogUnderTest, Connections } from './samples.ts';
import { setupConformance } from './setup-conformance.ts';

/**
 * The contract of `Catalog`, one sentence a test. A database joins by saying how to open it.
 *
 * @param name what to call the database in the test report
 * @param openFresh makes an empty catalog that no other test uses
 */
export function catalogConformance(name: string, openFresh: () => Promise<CatalogUnderTest>): void {
  describe(`${name} keeps the contract of a catalog`, () => {
    let under: CatalogUnderTest;
    let catalog: Catalog;
    let other: Catalog;

    beforeEach(async () => {
      under = await openFresh();
      catalog = await under.open();
      other = await under.open();
    });
    afterEach(async () => {
      await catalog.close();
      await other.close();
      await under.cleanUp();
    });

    const connections = (): Connections => ({ under, catalog, other });
    setupConformance(connections);
    filesConformance(connections);
    listsConformance(connections);
    chunksConformance(connections);
    grantsConformance(connections);
    concurrencyConformance(connections);
    modelConformance(connections);

    test('the label says where it is', () => {
      expect(catalog.label).not.toBe('');
    });
  });
}
