// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

/// @title The community's token
/// @notice An ERC-20 with 18 decimals and EIP-2612 permit, of one of two kinds that is fixed at deployment:
///
///   backed    minted one to one against a deposited ERC-20 (the backing) and redeemable for it at any time;
///   treasury  minted by a treasury, against fiat, up to a supply cap that everybody sees.
///
/// Requirements
/// R1  A token is either backed or has a treasury with a cap above zero; never both, never neither.
/// R2  Backed: the supply is covered by the backing held, to the last unit.
/// R3  Treasury: only the treasury mints, and never beyond the cap; holders may burn their own.
interface ICommunityToken is IERC20, IERC20Permit {
    event BackingDeposited(
        address indexed from,
        address indexed to,
        uint256 backingUnits,
        uint256 amountWei
    );
    event BackingRedeemed(
        address indexed from,
        address indexed to,
        uint256 backingUnits,
        uint256 amountWei
    );
    event TreasuryMinted(address indexed to, uint256 amountWei);
    event TreasuryBurned(address indexed from, uint256 amountWei);

    /// @notice R1
    error KindUnclear(address backing, uint256 supplyCapWei);
    /// @notice The backing has more than 18 decimals.
    error BackingTooFine(uint8 decimals);
    /// @notice The token is of the other kind.
    error WrongKind();
    /// @notice R2: the backing token delivered another amount than it was asked to.
    error DepositIncomplete(uint256 expectedUnits, uint256 receivedUnits);
    /// @notice The amount is no whole number of the backing's units.
    error NotRedeemable(uint256 amountWei, uint256 weiPerUnit);
    /// @notice R3
    error SupplyCapExceeded(uint256 supplyWei, uint256 supplyCapWei);

    /// @notice Takes the backing from the caller and mints the same value to `to`.
    function depositBacking(address to, uint256 backingUnits) external returns (uint256 amountWei);

    /// @notice Burns the caller's tokens and pays the same value of the backing to `to`.
    function redeem(address to, uint256 amountWei) external returns (uint256 backingUnits);

    /// @notice Mints against fiat the treasury has received.
    function treasuryMint(address to, uint256 amountWei) external;

    /// @notice Burns the caller's tokens, for which the treasury pays out fiat.
    function treasuryBurn(uint256 amountWei) external;

    /// @notice The ERC-20 deposited; zero for a treasury token.
    function backing() external view returns (IERC20);

    /// @notice What one smallest unit of the backing is worth, in wei of this token.
    function weiPerBackingUnit() external view returns (uint256);

    /// @notice Most tokens the treasury can have minted; zero for a backed token.
    function supplyCapWei() external view returns (uint256);
}
