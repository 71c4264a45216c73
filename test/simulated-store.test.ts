import { SimulatedStore } from './support/simulated-store.ts';
import { describeStoreContract } from './support/store-contract.ts';

describeStoreContract('the simulated store', async () => new SimulatedStore());
