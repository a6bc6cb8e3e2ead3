// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Imbalances} from "../Imbalances.sol";
import {IPeerRegistry} from "../interfaces/IPeerRegistry.sol";

/// @title Imbalances by themselves, and the same reckoned period by period, for tests
contract ImbalancesHarness {
    error WordCountMismatch(uint256 metered, uint256 position, uint256 expected);

    /// @notice As `Imbalances` reckons.
    function packed(
        bytes calldata metered,
        bytes calldata position,
        IPeerRegistry.Tariff[] calldata tariffs,
        uint256 limitWh
    ) external pure returns (int256 settledNano, bool plausible, int256 estimatedNano) {
        _requireWords(metered, position, tariffs);
        uint256[] memory rates = Imbalances.ratesOf(tariffs);
        (settledNano, plausible) = Imbalances.settledNano(metered, position, rates, limitWh);
        estimatedNano = Imbalances.estimatedNano(position, metered, rates);
    }

    /// @notice The same, period by period.
    function plain(
        bytes calldata metered,
        bytes calldata position,
        IPeerRegistry.Tariff[] calldata tariffs,
        uint256 limitWh
    ) external pure returns (int256 settledNano, bool plausible, int256 estimatedNano) {
        _requireWords(metered, position, tariffs);
        plausible = true;
        for (uint256 t; t < tariffs.length; ++t) {
            int256 meteredWh = _energyWh(metered, t);
            int256 positionWh = _energyWh(position, t);
            if (meteredWh > int256(limitWh) || -meteredWh > int256(limitWh)) plausible = false;
            settledNano += _imbalanceNano(meteredWh - positionWh, tariffs[t]);
            if (positionWh > 0) estimatedNano += _imbalanceNano(-positionWh, tariffs[t]);
        }
        if (estimatedNano > 0) estimatedNano = 0;
    }

    function _requireWords(
        bytes calldata metered,
        bytes calldata position,
        IPeerRegistry.Tariff[] calldata tariffs
    ) private pure {
        uint256 expected = ((tariffs.length + 7) / 8) * 32;
        require(
            metered.length == expected && position.length == expected,
            WordCountMismatch(metered.length, position.length, expected)
        );
    }

    function _energyWh(bytes calldata words, uint256 period) private pure returns (int256) {
        uint256 lane = uint32(bytes4(words[period * 4:period * 4 + 4]));
        int256 amountWh = int256(lane >> 1);
        return lane & 1 == 0 ? amountWh : -amountWh;
    }

    function _imbalanceNano(
        int256 energyWh,
        IPeerRegistry.Tariff calldata tariff
    ) private pure returns (int256) {
        return energyWh * (energyWh > 0 ? tariff.feedInMicroPerKWh : tariff.retailMicroPerKWh);
    }
}
