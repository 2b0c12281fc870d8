/** The folder below the root of a shared or cloned folder that holds its state; of no drive. */
export const STATE_FOLDER = '.syncline'
